"""Fetching published data sets: one archive, checked against its publisher's checksum, and single files out of it.

MD5 is what the publisher states for the archive; single cases are checked by SHA-256 besides.
"""

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from medseg.atomic import atomic_write, make_folder
from medseg.data.fetch import OnBytes, fetch_file, has_digest
from medseg.data.manifest import DataManifest
from medseg.errors import DataError, DownloadError

__all__ = ["fetch_case"]


def fetch_case(
    manifest: DataManifest, case_id: str, folder: Path, *, on_bytes: OnBytes = lambda done, total: None
) -> tuple[Path, Path]:
    """Image and reference labels of one case below ``folder``, fetched unless they are there with the right hash.

    Raises:
        DataError: the manifest has no such case or no public archive.
        DownloadError: the address cannot be reached, or a checksum is wrong.
        OutputError: the folder cannot be written to.
    """
    if manifest.archive is None or case_id not in manifest.cases:
        raise DataError(f"{manifest.name} has no public archive, or no case {case_id!r}: choose another data set.")
    record = manifest.cases[case_id]
    if record.image_sha256 is None or record.label_sha256 is None:
        raise DataError(f"{manifest.name} states no SHA-256 for {case_id}: fetch the whole data set by yourself.")
    wanted = {
        manifest.image.format(case_id=case_id, channel=manifest.channels[0].word): record.image_sha256,
        manifest.label.format(case_id=case_id): record.label_sha256,
    }
    targets = {name: folder / manifest.folder / name for name in wanted}
    if not all(has_digest(targets[name], sha256, "sha256") for name, sha256 in wanted.items()):
        archive = folder / PurePosixPath(manifest.archive.url).name
        fetch_file(manifest.archive.url, archive, digest=manifest.archive.md5, algorithm="md5", on_bytes=on_bytes)
        for name, sha256 in wanted.items():
            _extract(archive, f"{manifest.folder}/{name}", targets[name], sha256=sha256)
    image, label = targets.values()
    return image, label


def _extract(archive: Path, member: str, target: Path, *, sha256: str) -> None:
    """One member of a tar by its exact name: no path out of the archive is ever used."""
    make_folder(target.parent)
    try:
        with tarfile.open(archive) as tar:
            source = tar.extractfile(member)
            if source is None:
                raise KeyError(member)
            with atomic_write(target, overwrite=True) as temporary:
                with temporary.open("wb") as stream:
                    shutil.copyfileobj(source, stream)
                if not has_digest(temporary, sha256, "sha256"):
                    raise DownloadError(
                        f"{member} in {archive.name} is not the file the manifest describes: fetch it again."
                    )
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise DownloadError(f"{archive.name} has no readable {member}: delete it and fetch it again.") from error
