import pytest

from medseg.errors import ImageError
from medseg.io.text_header import voxel_files


@pytest.mark.parametrize(
    ("name", "header", "others"),
    [
        ("x.mha", "ObjectType = Image\nElementDataFile = LOCAL\n", []),
        ("x.nrrd", "NRRD0005\nencoding: gzip\n\n", []),
        ("x.mhd", "ObjectType = Image\nElementDataFile = voxels.raw\n", ["voxels.raw"]),
        ("x.nhdr", "NRRD0005\ndata file: voxels.raw.gz\n\n", ["voxels.raw.gz"]),
        ("x.nhdr", "NRRD0005\r\ndatafile: voxels.raw.gz\r\n\r\n", ["voxels.raw.gz"]),
    ],
)
def test_voxels_apart_are_named_by_the_header(tmp_path, name, header, others):
    path = tmp_path / name
    path.write_bytes(header.encode())
    assert voxel_files(path) == (path, *(tmp_path / other for other in others))


@pytest.mark.parametrize("header", ["ElementDataFile = LIST\n", "ElementDataFile = s%03d.raw 1 9 1\n"])
def test_voxels_spread_over_several_files_are_refused(tmp_path, header):
    (tmp_path / "x.mhd").write_text(header)
    with pytest.raises(ImageError, match="spreads its voxels over several files"):
        voxel_files(tmp_path / "x.mhd")
