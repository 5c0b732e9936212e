"""Where the results of a case go: the label file a person asked for, and what lies beside it.

X.nii.gz             the labels
X.json               the run record
X.png                the picture
X_statistics.json    voxels, millilitres, centroid of each label

and, when asked for:

X_uncertainty.nii.gz           entropy of the labels' probabilities, 0 to 1
X_mutual_information.nii.gz    how far several passes contradict one another
X_probabilities.nii            probability of each label, (I, J, K, L)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.atomic import check_target, make_folder
from medseg.errors import OutputError
from medseg.io import LABEL_SUFFIXES, PROBABILITY_SUFFIX, CaseFiles
from medseg.record import RunRecord
from medseg.segmentation import Segmentation

__all__ = ["Extras", "OutputPaths", "plan_outputs"]

DEFAULT_SUFFIX = ".nii.gz"


@dataclass(frozen=True)
class Extras:
    """Maps that are written beside the labels when a person asks for them."""

    uncertainty: bool = False
    probabilities: bool = False


@dataclass(frozen=True)
class OutputPaths:
    """The files of one case's result."""

    labels: Path
    record: Path
    picture: Path
    statistics: Path
    uncertainty: Path | None = None
    mutual_information: Path | None = None
    probabilities: Path | None = None

    @classmethod
    def beside(cls, labels: Path, extras: Extras | None = None) -> "OutputPaths":
        """The files that lie beside a label file, named after it."""
        extras = extras or Extras()
        stem = labels.name.removesuffix(_label_suffix(labels))
        return cls(
            labels=labels,
            record=labels.with_name(f"{stem}.json"),
            picture=labels.with_name(f"{stem}.png"),
            statistics=labels.with_name(f"{stem}_statistics.json"),
            uncertainty=labels.with_name(f"{stem}_uncertainty{DEFAULT_SUFFIX}") if extras.uncertainty else None,
            mutual_information=(
                labels.with_name(f"{stem}_mutual_information{DEFAULT_SUFFIX}") if extras.uncertainty else None
            ),
            probabilities=(
                labels.with_name(f"{stem}_probabilities{PROBABILITY_SUFFIX}") if extras.probabilities else None
            ),
        )

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file, the labels last: where they are, the result is complete."""
        maps = (self.uncertainty, self.mutual_information, self.probabilities)
        return (self.record, self.picture, self.statistics, *(path for path in maps if path), self.labels)

    def maps_of(self, segmentation: Segmentation) -> dict[str, Path]:
        """The maps that were written with a segmentation, by name; one pass has nothing to contradict it."""
        uncertainty = segmentation.uncertainty
        shared = self.mutual_information if uncertainty and uncertainty.mutual_information is not None else None
        named = {
            "uncertainty": self.uncertainty if uncertainty else None,
            "mutual_information": shared,
            "probabilities": self.probabilities,
        }
        return {name: path for name, path in named.items() if path is not None}

    def kept_record(self) -> RunRecord | None:
        """The run record that lies there; None where there is none that medseg wrote."""
        try:
            return RunRecord.model_validate_json(self.record.read_bytes())
        except (OSError, ValueError):
            return None

    def remove_left_over_maps(self, segmentation: Segmentation, *, inputs: Sequence[Path]) -> None:
        """Take away the maps of an earlier result in this place that were not written anew with a segmentation.

        A file with a run record of its own is another case's result, and no map; an input is never touched.
        """
        if not self.labels.is_file() or self.kept_record() is None:
            return
        every = OutputPaths.beside(self.labels, Extras(uncertainty=True, probabilities=True))
        written, given = self.maps_of(segmentation).values(), {path.resolve() for path in inputs}
        for path in (every.uncertainty, every.mutual_information, every.probabilities):
            is_ours = path is not None and path not in written and not OutputPaths.beside(path).record.is_file()
            if path is not None and is_ours and path.resolve() not in given:
                path.unlink(missing_ok=True)


def plan_outputs(
    cases: Sequence[CaseFiles], output: Path, *, overwrite: bool, extras: Extras | None = None
) -> dict[str, OutputPaths]:
    """The files of each case, by case id. ``output`` is a label file for one case, else a folder, made if absent.

    Raises:
        OutputError: a result exists already, would replace an input, or cannot be written there.
    """
    if _is_label_file(output):
        if len(cases) > 1:
            raise OutputError(f"{output.name} is one file, but there are {len(cases)} cases: give --output a folder.")
        planned = {case.case_id: OutputPaths.beside(output, extras) for case in cases}
    else:
        if output.suffix and not output.is_dir() and (output.is_file() or len(cases) == 1):
            raise OutputError(
                f"{output.name} is neither a folder nor a label file: end it in {', '.join(LABEL_SUFFIXES)}, "
                "or give a folder."
            )
        make_folder(output)
        planned = {
            case.case_id: OutputPaths.beside(output / f"{case.case_id}{DEFAULT_SUFFIX}", extras) for case in cases
        }
    _refuse_same_name(planned)
    inputs = {channel.path.resolve() for case in cases for channel in case.channels}
    for paths in planned.values():
        own = next((path for path in (paths.labels, *paths.all) if path.resolve() in inputs), None)
        if own is not None:
            raise OutputError(f"{own.name} is an input: results never replace it. Choose another --output.")
        for path in (paths.labels, *paths.all):  # the labels first: they are what a person named
            if len(planned) > 1 and path.is_file() and not overwrite:
                raise OutputError(
                    f"{path} exists already and was not replaced. Go on with --resume where a cohort was interrupted, "
                    "use --overwrite, or choose another folder."
                )
            check_target(path, overwrite=overwrite)
    return planned


def _is_label_file(path: Path) -> bool:
    return not path.is_dir() and path.name.lower().endswith(LABEL_SUFFIXES)


def _label_suffix(path: Path) -> str:
    longest_first = sorted(LABEL_SUFFIXES, key=len, reverse=True)
    return next((path.name[-len(end) :] for end in longest_first if path.name.lower().endswith(end)), path.suffix)


def _refuse_same_name(planned: Mapping[str, OutputPaths]) -> None:
    """Cases called ``x`` and ``x_statistics`` would both write ``x_statistics.json``."""
    owner: dict[Path, str] = {}
    for case_id, paths in planned.items():
        for path in paths.all:
            other = owner.setdefault(path, case_id)
            if other != case_id:
                raise OutputError(f"{path.name} would belong to {other} and to {case_id}: rename one of the two.")
