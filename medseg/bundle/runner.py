"""A bundle over scans: read → segment → write, with the run record, the picture and the statistics beside.

The command line, the viewer and the label server call these functions.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from medseg.bundle.build import build_segmenter
from medseg.bundle.doubts import doubts
from medseg.bundle.edition import in_the_cases_edition
from medseg.bundle.load import Bundle, sha256_of
from medseg.bundle.measures import Measures
from medseg.bundle.outputs import OutputPaths
from medseg.gpu import finish_work, gpu_peak_memory_mb
from medseg.inference import ManyPasses, MirrorInferer, Segmenter, Stages
from medseg.io import (
    CaseFiles,
    Scan,
    case_sha256,
    probability_file,
    read_case,
    write_image,
    write_labels,
)
from medseg.record import (
    InputChannel,
    OutputGrid,
    RunRecord,
    UsedBundle,
    plain_settings,
    process_peak_memory_mb,
    write_record,
)
from medseg.report import label_statistics, write_picture, write_statistics
from medseg.segmentation import Segmentation

__all__ = ["CaseResult", "InferredCase", "ReadCase", "Runner"]

MAPS = {"uncertainty": "entropy", "mutual_information": "mutual_information"}
"""The maps beside the labels, and where their values come from."""


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What became of one case: the segmentation, the files it was written to, what had to be assumed."""

    case_id: str
    segmentation: Segmentation
    files: OutputPaths
    warnings: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The result as the command line prints it."""
        return {
            "case_id": self.case_id,
            "status": "done",
            "segmentation": self.segmentation.summary(),
            "files": {
                "labels": str(self.files.labels),
                "record": str(self.files.record),
                "picture": str(self.files.picture),
                "statistics": str(self.files.statistics),
                **{name: str(path) for name, path in self.files.maps_of(self.segmentation).items()},
            },
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, eq=False)
class ReadCase:
    """A case whose scan is in memory, compacted, and who listens to what becomes of it."""

    case: CaseFiles
    scan: Scan
    stages: Stages
    measures: Measures


@dataclass(frozen=True, eq=False)
class InferredCase:
    """A case whose labels are found, and not yet written."""

    read: ReadCase
    segmentation: Segmentation


class Runner:
    """A bundle on a device, loaded once and used for every case of a cohort.

    Args:
        mirror: average each scan and its mirror images along the axes that a bundle names.
        others: further bundles, or the same with other weights, whose probabilities are averaged with the bundle's.
    Raises:
        MedsegError: a bundle cannot be built, or the bundles do not go together.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: torch.device,
        runtime: str = "torch",
        mirror: bool = False,
        others: Sequence[Bundle] = (),
    ) -> None:
        self.bundle = bundle
        self.segmenter: Segmenter = build_segmenter(bundle, device=device, runtime=runtime, mirror=mirror)
        self._others = tuple(others)
        self._together = ManyPasses(
            (
                self.segmenter,
                *(build_segmenter(one, device=device, runtime=runtime, mirror=mirror) for one in self._others),
            )
        )
        models = (bundle, *self._others)
        self._used = tuple(map(_used, models))  # now, and not when a file may have been replaced
        self._configs_sha256 = tuple(map(_config_sha256, models))

    @property
    def used(self) -> UsedBundle:
        """The bundle for the records, with the hash of the weights that were loaded."""
        return self._used[0]

    def has_done(self, case: CaseFiles, files: OutputPaths) -> bool:
        """Whether all results are there, and came of this very scan, these models and these options.

        Raises:
            MedsegError: the scan cannot be opened.
        """
        written = [path for path in files.all if path != files.mutual_information]  # of one pass there is none
        if not all(path.is_file() for path in written):
            return False
        if files.labels.stat().st_mtime_ns < files.record.stat().st_mtime_ns:  # a run that replaces was ended between
            return False
        kept = files.kept_record()
        if kept is None:
            return False
        wanted = (*self._used, self._configs_sha256, plain_settings(self._settings()))
        found = (kept.bundle, *kept.others, kept.configs_sha256, kept.settings)
        return found == wanted and kept.input_sha256 == case_sha256(case)

    def run(self, case: CaseFiles, files: OutputPaths, *, overwrite: bool, stages: Stages | None = None) -> CaseResult:
        """Segment one case and write its results, the labels last.

        Raises:
            MedsegError: the case cannot be read or segmented, or a result cannot be written.
        """
        read = self.read(case, stages=stages)
        return self.finish(self.infer(read, files, overwrite=overwrite), files, overwrite=overwrite)

    def read(self, case: CaseFiles, *, stages: Stages | None = None) -> ReadCase:
        """The first third of ``run``."""
        measures = Measures(settled=partial(finish_work, self.segmenter.device))
        stages = measures.listening_with(stages or Stages())
        with stages.timed("read"):
            return ReadCase(case, read_case(case, compact=True), stages, measures)

    def infer(self, read: ReadCase, files: OutputPaths, *, overwrite: bool) -> InferredCase:
        """The second third of ``run``: all that the device does, probabilities written as they come."""
        segmentation = self._segmented(read, files, overwrite=overwrite)
        read.measures.choice = self.segmenter.runtime.choice if self.segmenter.runtime else None
        segmentation, notes = in_the_cases_edition(segmentation, read.case, self.bundle.label_schema)
        told = (*notes, *read.measures.notes)
        warnings = (*self.bundle.notes, *told, *read.scan.warnings, *doubts(self.bundle, read.scan))
        return InferredCase(replace(read, scan=replace(read.scan, warnings=warnings)), segmentation)

    def _segmented(self, read: ReadCase, files: OutputPaths, *, overwrite: bool) -> Segmentation:
        image, stages = read.scan.image, read.stages
        if not (self._others or files.uncertainty or files.probabilities):
            return self.segmenter(image, stages=stages)
        together = replace(self._together, measures_uncertainty=files.uncertainty is not None)
        if files.probabilities is None:
            return together(image, stages=stages)
        is_of_regions = self.segmenter.region_threshold is not None
        with probability_file(
            files.probabilities, read.scan.geometry, overwrite=overwrite, is_of_regions=is_of_regions
        ) as sink:
            return together(image, stages=stages, probabilities=sink)

    def finish(self, inferred: InferredCase, files: OutputPaths, *, overwrite: bool) -> CaseResult:
        """The last third of ``run``."""
        read, segmentation = inferred.read, inferred.segmentation
        with read.stages.timed("write"):
            paths = [channel.path for channel in read.case.channels]
            self.write(read.scan, segmentation, files, input_paths=paths, overwrite=overwrite, measures=read.measures)
        return CaseResult(read.scan.case_id, segmentation, files, read.scan.warnings, read.measures.seconds)

    def write(
        self,
        scan: Scan,
        segmentation: Segmentation,
        files: OutputPaths,
        *,
        input_paths: Sequence[Path],
        overwrite: bool,
        measures: Measures,
    ) -> None:
        """Statistics, picture, run record and, last, the labels: where they are, the result is complete.

        Maps of an earlier result that is replaced go with it: they would be taken for maps of the new labels.

        Raises:
            OutputError: a file exists, or cannot be written.
        """
        with measures.watch.stage("report"):
            self._write_beside(scan, segmentation, files, overwrite=overwrite)
        if overwrite:
            files.remove_left_over_maps(segmentation, inputs=input_paths)
        record = self._record(scan, measures)
        write_record(files.record, record, input_paths=input_paths, overwrite=overwrite)
        write_labels(segmentation, files.labels, overwrite=overwrite)

    def _record(self, scan: Scan, measures: Measures) -> RunRecord:
        gpu_mb = gpu_peak_memory_mb(self.segmenter.device)
        stage_s = {stage: round(seconds, 4) for stage, seconds in measures.watch.stage_s.items()}
        return RunRecord(
            case_id=scan.case_id,
            started_utc=measures.started_utc,
            bundle=self.used,
            others=self._used[1:],
            configs_sha256=self._configs_sha256,
            input_sha256=scan.sha256,
            channels=tuple(InputChannel(name=name) for name in self.segmenter.channel_names),
            output_grid=OutputGrid.of(scan.geometry),
            settings=self._settings(),
            device=str(self.segmenter.device),
            runtime=measures.runtime(),
            windows=measures.windows(),
            stage_s=stage_s,
            process_peak_memory_mb=round(process_peak_memory_mb(), 1),
            gpu_peak_memory_mb=None if gpu_mb is None else round(gpu_mb, 1),
            warnings=scan.warnings,
        )

    def _write_beside(self, scan: Scan, segmentation: Segmentation, files: OutputPaths, *, overwrite: bool) -> None:
        statistics = label_statistics(segmentation, scan.image, channel_names=self.segmenter.channel_names)
        write_statistics(files.statistics, statistics, case_id=scan.case_id, overwrite=overwrite)
        write_picture(
            files.picture,
            scan.image,
            segmentation,
            case_id=scan.case_id,
            bundle_name=self.bundle.name,
            overwrite=overwrite,
        )
        if segmentation.uncertainty is not None:
            for name, path in files.maps_of(segmentation).items():
                if name != "probabilities":
                    values = torch.from_numpy(getattr(segmentation.uncertainty, MAPS[name]))[None]
                    write_image(MetaTensor(values, affine=scan.image.affine), path, overwrite=overwrite)

    def _settings(self) -> Mapping[str, Any]:
        """The numbers of the bundle that shape the result, as they stand at the top of its configuration."""
        numbers = {
            key: value
            for key, value in self.bundle.config.items()
            if isinstance(value, int | float) or (isinstance(value, list) and not _holds_code(value))
        }
        return {**numbers, "is_mirrored": isinstance(self.segmenter.inferer, MirrorInferer)}


def _used(bundle: Bundle) -> UsedBundle:
    return UsedBundle(name=bundle.name, version=bundle.version, weights_sha256=sha256_of(bundle.weights_path))


def _config_sha256(bundle: Bundle) -> str:
    return hashlib.sha256(json.dumps(bundle.config, sort_keys=True, default=str).encode()).hexdigest()


def _holds_code(values: Sequence[Any]) -> bool:
    return any(isinstance(value, dict) or (isinstance(value, str) and value[:1] in "$@%") for value in values)
