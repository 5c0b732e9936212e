"""What a person has before them: a worklist, at most one open case, and its layers. No Qt.

In: what the panels are told to do. Out: a session and its layers, in step; the panels are told what has changed.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from numpy.typing import NDArray

from medseg.errors import GeometryError, ReviewError
from medseg.geometry import geometry_of
from medseg.io import read_labels
from medseg.review.case_facts import channels_of, middle_of, to_review
from medseg.review.case_layers import CaseLayers
from medseg.review.measure import Spot, disagreement_spots, uncertain_spots
from medseg.review.preferences import ReviewPreferences
from medseg.review.segmenting import Proposal
from medseg.review.session import ReviewSession
from medseg.review.tools import ToolUse, tool_named
from medseg.review.versions import Version
from medseg.review.worklist import Worklist, WorklistCase

__all__ = ["ReviewDesk"]

UNCERTAIN = 0.5
"""Entropy, 0 to 1, from which a voxel is worth a look: half of the most there can be."""

SPOT_VOXELS = 3
"""Smaller spots are noise along an outline."""


class ReviewDesk:
    """The worklist and the open case. Mutable; ``listen`` hears whenever another case, or none, is open.

    Attributes:
        viewer: the model of napari's viewer.
        preferences: the reviewer's name and habits.
        worklist: the cases; None before one was opened.
        session: the open case; None where none is.
        layers: its layers.
        other: a second segmentation of the open case, to compare with.
    """

    def __init__(self, viewer: ViewerModel, *, preferences: ReviewPreferences) -> None:
        self.viewer, self.preferences = viewer, preferences
        self.worklist: Worklist | None = None
        self.session: ReviewSession | None = None
        self.layers: CaseLayers | None = None
        self.other: NDArray[np.uint8] | None = None
        self._uncertainty: NDArray[np.float32] | None = None
        self._spots: dict[str, tuple[tuple[Spot, ...], int]] = {}
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever another case, or none, is open, or the worklist has changed."""
        self._listeners.append(listener)

    def show_worklist(self, worklist: Worklist) -> None:
        """Take another worklist; the open case is closed, its edits kept.

        Raises:
            OutputError: the edits of the open case cannot be saved; it stays open.
        """
        self.close_case()
        self.worklist = worklist
        self._tell()

    def open_case(
        self, case_id: str, *, fetched: WorklistCase | None = None, take_own_lock: bool = False
    ) -> ReviewSession:
        """Open a case of the worklist; the one that is open is closed, its edits kept.

        Args:
            case_id: its name.
            fetched: the case as its origin gave it; None: it is fetched now, where it comes from elsewhere.
            take_own_lock: take a lock of the same reviewer's, whose session is known to have ended.
        Raises:
            ReviewError: there is no worklist, or no reviewer is named.
            MedsegError: the case cannot be opened; none is open then.
        """
        worklist = self._listed()
        case = worklist.case(case_id)
        self.close_case()
        if worklist.origin is not None:
            case = fetched or worklist.origin.fetched(case)
        session = ReviewSession.open(
            to_review(case, worklist),
            folder=worklist.folder,
            reviewer=self.preferences.reviewer,
            take_own_lock=take_own_lock,
        )
        opacity = self.preferences.overlay_opacity
        try:
            layers = CaseLayers.show(
                self.viewer, session.editor, channels_of(session), case_id=case_id, opacity=opacity
            )
        except BaseException:
            session.close()  # a case that cannot be shown is not left locked
            raise
        self.session, self.layers = session, layers
        layers.jump_to(middle_of(session.editor.labels))
        self._refresh()
        return session

    def close_case(self, *, keep_edits: bool = True) -> None:
        """Close the open case, if there is one.

        Raises:
            OutputError: its edits cannot be saved; it stays open.
        """
        if self.session is None or self.layers is None:
            return
        self.layers.absorb()
        self.session.close(keep_edits=keep_edits)
        self.layers.close()
        self.session = self.layers = self.other = self._uncertainty = None
        self._spots = {}
        self._refresh()

    def next_unreviewed(self) -> WorklistCase | None:
        """The next case that nobody has decided on; None where all are."""
        after = self.session.case_id if self.session else None
        return self._listed().next_unreviewed(after=after)

    def accept(self, *, comment: str = "") -> Version:
        """Accept the open case as it is now.

        Raises:
            MedsegError: no case is open, or the version cannot be written.
        """
        session, layers = self._signed()
        layers.absorb()
        version = session.accept(comment=comment)
        worklist = self._listed()
        if worklist.origin is not None:
            worklist.origin.send(session.case_id, version)
        self._refresh()
        return version

    def decide(self, decision: Callable[[ReviewSession], None]) -> None:
        """Enter a decision other than acceptance in the journal of the open case.

        Raises:
            MedsegError: no case is open, or the decision says nothing.
        """
        session, _ = self._signed()
        decision(session)
        self._refresh()

    def use_tool(self, key: str, *, amount: float = 0.0, other: int | None = None) -> int:
        """Use a tool of the edit panel on the chosen label; how many voxels changed.

        Raises:
            MedsegError: no case is open, or the tool refuses.
        """
        session, layers = self.opened()
        layers.absorb()
        tool, axis = tool_named(key), layers.depth_axis
        step = 1 if layers.step_along(axis) > 0 else -1
        use = ToolUse(
            label=session.editor.chosen_label,
            geometry=session.editor.geometry,
            axis=axis,
            slice_index=layers.position[axis],
            step=step,
            other=other,
            amount=amount,
            limits=session.editor.rules.limits,
            regions=session.editor.rules.regions,
        )
        delta = session.editor.edit(tool.describe(use), tool.edit(use))
        if key == "copy_slice":
            position = list(layers.position)
            position[axis] += step
            layers.jump_to(position)
        return len(delta)

    def choose_label(self, index: int) -> None:
        """Work on this label from now on, with brush and tools."""
        session, layers = self.opened()
        session.editor.chosen_label = index
        layers.labels.selected_label = index

    def protect(self, index: int, *, is_protected: bool) -> None:
        """Lock a label, or unlock it."""
        session, _ = self.opened()
        rules = session.editor.rules
        protected = rules.protected | {index} if is_protected else rules.protected - {index}
        session.editor.rules = replace(rules, protected=protected)

    def limit_brush(self, intensity_range: tuple[float, float] | None) -> None:
        """Let the brush colour only these intensities of the channel that is shown; None: all."""
        session, _ = self.opened()
        session.editor.rules = replace(session.editor.rules, intensity_range=intensity_range)

    def keep_nested(self, *, is_kept: bool) -> None:
        """Keep nested regions nested under the brush, or paint each label for itself."""
        session, _ = self.opened()
        session.editor.rules = replace(session.editor.rules, regions=session.case.regions if is_kept else None)

    def compare_with(self, path: Path) -> None:
        """Show a second segmentation of the open case as outlines.

        Raises:
            MedsegError: no case is open, the file cannot be read, or lies on another grid.
        """
        session, layers = self.opened()
        image = read_labels(path)
        if not geometry_of(image).matches(session.scan.geometry):
            raise GeometryError(
                f"{path.name} has {geometry_of(image).describe()}, the scan {session.scan.geometry.describe()}: "
                "one grid was expected. Choose labels of the same scan."
            )
        self.other = np.ascontiguousarray(image.as_tensor()[0].numpy().astype(np.uint8))
        layers.show_labels("second segmentation", self.other, session.case.label_table)
        self._spots.pop("disagreement", None)

    def show_uncertainty(self, values: NDArray[np.float32]) -> None:
        """Lay a map of uncertainty (I, J, K), 0 to 1, over the open case."""
        _, layers = self.opened()
        self._uncertainty = values
        layers.show_map("uncertainty", values, highest=1.0)
        self._spots.pop("uncertainty", None)

    def jump_to_next_spot(self) -> str:
        """Go to the next place worth a look and say what it is: uncertain, in disagreement, or changed since.

        Raises:
            ReviewError: no case is open, or there is no such place.
        """
        session, layers = self.opened()
        kind = "uncertainty" if self._uncertainty is not None else "disagreement"
        if kind not in self._spots:
            self._spots[kind] = (self._find_spots(session), 0)
        spots, turn = self._spots[kind]
        if not spots:
            raise ReviewError(f"no {kind} is left to look at: show uncertainty, or compare with another segmentation.")
        spot = spots[turn % len(spots)]
        self._spots[kind] = (spots, turn + 1)
        layers.jump_to(spot.centre)
        return f"{kind} {turn % len(spots) + 1} of {len(spots)}: {spot.n_voxels} voxels"

    def take_proposal(self, proposal: Proposal) -> None:
        """Put a model's labels in the place of those that are there, as one edit; differences are to it from now on.

        Raises:
            ReviewError: the model's labels mean something else than those that are there.
            MedsegError: no case is open, or the labels lie on another grid.
        """
        session, layers = self.opened()
        layers.absorb()
        session.take_proposal(proposal)
        layers.show_proposal()
        self._tell()

    def hide_uncertainty(self) -> None:
        """Take the map of uncertainty away."""
        self._uncertainty = None
        self._spots.pop("uncertainty", None)
        if self.layers is not None:
            self.layers.hide_map("uncertainty")

    def save(self) -> int:
        """Save the edits of the open case as ``ReviewSession.save`` does; how many there were."""
        return self.session.save() if self.session is not None else 0

    def opened(self) -> tuple[ReviewSession, CaseLayers]:
        """The open case and its layers.

        Raises:
            ReviewError: none is open.
        """
        if self.session is None or self.layers is None:
            raise ReviewError("no case is open: choose one in the worklist.")
        return self.session, self.layers

    def _signed(self) -> tuple[ReviewSession, CaseLayers]:
        """The open case, under the name that the preferences hold now, if another than when it was opened."""
        session, layers = self.opened()
        session.hand_over(self.preferences.reviewer)
        return session, layers

    def _find_spots(self, session: ReviewSession) -> tuple[Spot, ...]:
        if self._uncertainty is not None:
            return uncertain_spots(self._uncertainty, threshold=UNCERTAIN, at_least_voxels=SPOT_VOXELS)
        other = session.editor.opened if self.other is None else self.other
        return disagreement_spots(session.editor.labels, other, at_least_voxels=SPOT_VOXELS)

    def _listed(self) -> Worklist:
        if self.worklist is None:
            raise ReviewError("no worklist is open: open a folder of scans first.")
        return self.worklist

    def _refresh(self) -> None:
        if self.worklist is not None:
            self.worklist = self.worklist.refreshed()
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
