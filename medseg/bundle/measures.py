"""What is measured while one case runs: seconds of each stage, windows, and what computed them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from medseg.inference import RuntimeChoice, Stages, WindowCount
from medseg.record import GoldenWindow, Stopwatch, UsedRuntime, UsedWindows

__all__ = ["Measures"]

BESIDE_THE_DEVICE = ("read", "report", "write")
"""Stages of a case in which the device may be computing another."""


@dataclass(eq=False)
class Measures:
    """The measurements of one case; mutable: filled by a run that ``listening_with`` its stages."""

    started_utc: datetime = field(default_factory=lambda: datetime.now(UTC))
    watch: Stopwatch = field(default_factory=Stopwatch)
    settled: Callable[[], None] = lambda: None
    """Waits until the device has done what a stage gave it, so that the stage is as long as it was."""
    counts: list[WindowCount] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the run said of itself, for the warnings of its record."""
    choice: RuntimeChoice | None = None
    """What computed the windows; None where the network itself did, unasked."""

    @property
    def seconds(self) -> float:
        """How long all stages took together; the report is made within the writing."""
        return sum(seconds for stage, seconds in self.watch.stage_s.items() if stage != "report")

    def listening_with(self, stages: Stages) -> Stages:
        """The same listener, with a stopwatch running inside each stage and the windows counted."""

        @contextmanager
        def timed(stage: str) -> Iterator[None]:
            with stages.timed(stage), self.watch.stage(stage):
                yield
                if stage not in BESIDE_THE_DEVICE:
                    self.settled()

        def counted(count: WindowCount) -> None:
            self.counts.append(count)
            stages.counted(count)

        def told(message: str) -> None:
            self.notes.append(message)
            stages.told(message)

        return replace(stages, timed=timed, counted=counted, told=told)

    def windows(self) -> UsedWindows | None:
        """All windows of the run; None where they were not counted."""
        if not self.counts:
            return None
        return UsedWindows(
            count=sum(count.n_windows for count in self.counts), reused=sum(count.n_reused for count in self.counts)
        )

    def runtime(self) -> UsedRuntime | None:
        """What computed the windows, for the record."""
        if self.choice is None:
            return None
        proof = self.choice.proof
        return UsedRuntime(
            name=self.choice.name,
            reason=self.choice.reason,
            precision=proof.precision if proof else "float32",
            golden_window=None
            if proof is None
            else GoldenWindow(max_difference=proof.max_difference, label_agreement=proof.label_agreement),
        )
