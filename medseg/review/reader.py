"""napari's reader: whatever medseg reads, as layers in millimetres.

In: a path that a person dropped on the viewer: a file, a folder of DICOM slices, the folder of a BraTS case, or a
folder of a few cases. Out: image layers, one a channel, and a labels layer for every label map beside them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from medseg.errors import CaseError
from medseg.geometry import geometry_of
from medseg.io import CaseFiles, ChannelSpec, read_case, read_labels, read_volume, resolve_cases
from medseg.io.dicom.series import is_dicom_folder
from medseg.io.formats import image_suffix, is_hidden, name_without_suffix
from medseg.io.naming import is_label_name
from medseg.review.label_names import is_result, label_table_of
from medseg.review.layers import LayerData, LayerSource, image_layers, labels_layer
from medseg.review.preferences import review_preferences

__all__ = ["napari_get_reader", "read_paths"]

BRATS_CHANNELS: Final = tuple(ChannelSpec(name, "MR") for name in ("t1", "t1ce", "t2", "flair"))
ONE_CHANNEL: Final = (ChannelSpec("image"),)

MOST_CASES: Final = 8
"""Of one folder, opened at once: more fill the memory, and nobody looks at them together."""

DICOM_SUFFIXES: Final = (".dcm", ".ima")

Reader = Callable[[str | Sequence[str]], list[LayerData]]


def napari_get_reader(path: str | Sequence[str]) -> Reader | None:
    """The reader of ``path``, one or several; None where one of them is nothing that medseg reads."""
    return read_paths if all(_is_readable(one) for one in _paths(path)) else None


def read_paths(path: str | Sequence[str]) -> list[LayerData]:
    """The layers of one path or several, images below labels.

    Raises:
        MedsegError: a path cannot be read, or a folder holds no case or more than ``MOST_CASES``.
    """
    layers = [layer for one in dict.fromkeys(map(_series_folder, _paths(path))) for layer in _layers_of(one)]
    return sorted(layers, key=lambda layer: layer[2] == "labels")


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str) else [Path(one) for one in path]


def _series_folder(path: Path) -> Path:
    """The folder of a DICOM slice, since one slice of a series says nothing; any other path as it is."""
    return path.parent if path.suffix.lower() in DICOM_SUFFIXES and path.is_file() else path


def _is_readable(path: Path) -> bool:
    if not path.is_dir():
        return image_suffix(path) is not None or path.suffix.lower() in DICOM_SUFFIXES
    return is_dicom_folder(path) or bool(_images_in(path)) or any(_holds_images(folder) for folder in _folders_in(path))


def _holds_images(folder: Path) -> bool:
    return is_dicom_folder(folder) or bool(_images_in(folder)) or any(_images_in(one) for one in _folders_in(folder))


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not is_hidden(path)]


def _images_in(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and not is_hidden(path) and image_suffix(path) is not None
    ]


def _layers_of(path: Path) -> list[LayerData]:
    if path.is_dir():
        return _folder_layers(path)
    if is_label_name(path) or path.parent.name.lower().startswith("label") or is_result(path):
        return [_label_file_layer(path)]
    return image_layers(read_volume(path), case_id=name_without_suffix(path))


def _folder_layers(folder: Path) -> list[LayerData]:
    cases = _cases_in(folder)
    if len(cases) > MOST_CASES:
        raise CaseError(
            f"{folder.name} holds {len(cases)} cases: at most {MOST_CASES} are opened at once. Open one of them, or "
            "go through all with: medseg review FOLDER."
        )
    return [layer for case in cases for layer in _case_layers(case, is_only=len(cases) == 1)]


def _cases_in(folder: Path) -> list[CaseFiles]:
    """The cases of four BraTS channels in a folder, or else each image as a case of its own."""
    try:
        return _resolved(folder, BRATS_CHANNELS)
    except CaseError:
        return _resolved(folder, ONE_CHANNEL)


def _resolved(folder: Path, channels: tuple[ChannelSpec, ...]) -> list[CaseFiles]:
    found = resolve_cases([folder], channels=channels)
    return [case for case in found if isinstance(case, CaseFiles)]


def _case_layers(case: CaseFiles, *, is_only: bool) -> list[LayerData]:
    names = [entry.channel for entry in case.channels]
    first = case.channels[0].path
    layers = image_layers(read_case(case).image, case_id=case.case_id, channels=names)
    if first.is_dir():
        return layers
    beside = [path for path in _images_in(first.parent) if is_label_name(path)]
    labels = [path for path in beside if is_only or path.name.lower().startswith(case.case_id.lower())]
    return layers + [_label_file_layer(path) for path in labels]


def _label_file_layer(path: Path) -> LayerData:
    image = read_labels(path)
    labels = image.as_tensor().numpy()[0]
    name = name_without_suffix(path)
    source = LayerSource(name, geometry_of(image), label_table_of(path, labels))
    return labels_layer(labels, source, name=name, opacity=review_preferences().overlay_opacity)
