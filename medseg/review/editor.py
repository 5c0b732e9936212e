"""The label map of one case while a person edits it: the only place where it changes.

In: the labels as they were opened, strokes of a brush, tools. Out: the labels as they are now, every change as a
``Delta`` to whoever listens: the screen, the autosave.

    stroke ─┐
    tool ───┼─→ rules: protected labels, intensities, nesting ─→ Delta ─→ history ─→ listeners
    undo ───┘
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.review.delta import Delta, delta_between
from medseg.review.history import History
from medseg.review.strokes import StrokeRules
from medseg.segmentation import Segmentation

__all__ = ["Change", "ChangeKind", "LabelEditor"]

Box: TypeAlias = tuple[slice, slice, slice]
Labels: TypeAlias = NDArray[np.uint8]
ChangeKind: TypeAlias = Literal["edit", "undo", "redo"]


@dataclass(frozen=True)
class Change:
    """What happened to the labels: an edit was made, taken back, or made again."""

    kind: ChangeKind
    delta: Delta


@dataclass(eq=False)
class LabelEditor:
    """A label map (I, J, K) uint8 on its scan's grid, its history, and who hears of its changes. Mutable.

    Attributes:
        rules: what edits may do; replaced when a person locks a label or limits the brush.
        chosen_label: what a person works on: the eraser takes its region away where regions are nested.
    """

    label_table: LabelTable
    geometry: Geometry
    rules: StrokeRules = field(default_factory=StrokeRules)
    history: History = field(default_factory=History)
    chosen_label: int = 1
    _labels: Labels = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    _opened: Labels = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    _listeners: list[Callable[[Change], None]] = field(default_factory=list)

    @classmethod
    def of(cls, segmentation: Segmentation) -> "LabelEditor":
        """An editor whose labels start as those of a segmentation, which stays as it is."""
        labels = np.ascontiguousarray(segmentation.labels)
        first = next(iter(segmentation.label_table)).index
        return cls(
            segmentation.label_table, segmentation.geometry, chosen_label=first, _labels=labels.copy(), _opened=labels
        )

    @property
    def labels(self) -> Labels:
        """The labels as they are now (I, J, K); read only: they change through edits."""
        view = self._labels.view()
        view.flags.writeable = False
        return view

    @property
    def opened(self) -> Labels:
        """The labels as they were opened, or as a model proposed them since; read only."""
        view = self._opened.view()
        view.flags.writeable = False
        return view

    @property
    def is_changed(self) -> bool:
        """Whether any edit stands that could be undone."""
        return bool(self.history.done)

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Tell ``listener`` of every change from now on, in the order of the calls."""
        self._listeners.append(listener)

    def paint(self, box: Box, values: Labels, *, intensities: NDArray[np.float32] | None = None) -> Delta:
        """A stroke: the box of the scan that it touched, with the values that it left there.

        Args:
            box: (I, J, K), within the scan.
            values: of the box's shape, what a person sees there after the stroke.
            intensities: of the box's shape, where the brush is limited to a range of them.
        Returns:
            what changed, which is less than what was painted where the rules forbid it.
        Raises:
            GeometryError: the values do not have the shape of the box.
        """
        before = self._labels[box]
        if before.shape != values.shape:
            raise GeometryError(f"a stroke of shape {values.shape} was painted into a box of {before.shape}.")
        after = self.rules.painted(
            before, values.astype(np.uint8, copy=False), erased=self.chosen_label, intensities=intensities
        )
        within = np.nonzero(after != before)
        corner = [part.start for part in box]
        axes = [axis + start for axis, start in zip(within, corner, strict=True)]
        positions = np.ravel_multi_index(axes, self._labels.shape).astype(np.int64)
        shape = (self._labels.shape[0], self._labels.shape[1], self._labels.shape[2])
        return self._made(Delta(positions, before[within], after[within], shape, "paint"))

    def edit(self, name: str, tool: Callable[[Labels], Labels]) -> Delta:
        """A tool: a function of the whole label map (I, J, K) that gives a new one.

        Raises:
            MedsegError: the tool refuses, for a reason that it names; nothing has changed.
        """
        after = self.rules.kept(self._labels, tool(self.labels))
        return self._made(delta_between(self._labels, after, name=name))

    def propose(self, name: str, labels: Labels) -> Delta:
        """A model's labels (I, J, K) in the place of what is there; what comes later is counted as a change of them.

        Raises:
            GeometryError: they have another shape.
        """
        delta = self.edit(name, lambda _: labels)
        self._opened = self._labels.copy()
        return delta

    def undo(self) -> Delta | None:
        """Take the last edit back; None where there is none."""
        return self._told("undo", self.history.undo(self._labels))

    def redo(self) -> Delta | None:
        """Make the last edit that was undone again; None where there is none."""
        return self._told("redo", self.history.redo(self._labels))

    def resume(self, labels: Labels, history: History) -> None:
        """Go on from labels and history that were saved before; nobody is told.

        Raises:
            GeometryError: the labels have another shape.
        """
        if labels.shape != self._labels.shape:
            raise GeometryError(f"saved labels of shape {labels.shape} found for a scan of {self._labels.shape}.")
        self._labels, self.history = np.ascontiguousarray(labels), history

    def voxels_changed(self) -> Mapping[str, int]:
        """For each label that differs from what was opened: how many voxels it gained or lost."""
        is_changed = self._labels != self._opened
        before = np.bincount(self._opened[is_changed], minlength=256)
        after = np.bincount(self._labels[is_changed], minlength=256)
        counts = before + after
        return {label.name: int(counts[label.index]) for label in self.label_table if counts[label.index]}

    def segmentation(self) -> Segmentation:
        """The labels as they are now, as a value that later edits leave alone."""
        return Segmentation(self._labels.copy(), self.geometry, self.label_table)

    def _made(self, delta: Delta) -> Delta:
        if len(delta):
            delta.applied_to(self._labels)
            self.history.add(delta)
            self._told("edit", delta)
        return delta

    def _told(self, kind: ChangeKind, delta: Delta | None) -> Delta | None:
        if delta is not None:
            for listener in self._listeners:
                listener(Change(kind, delta))
        return delta
