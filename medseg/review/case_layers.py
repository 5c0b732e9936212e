"""A case on napari's canvas: its channels, its labels, and what helps to judge them, kept in step with the editor.

In: a viewer's model and a ``LabelEditor``. Out: layers; what is painted on them goes to the editor, what the editor
makes of it comes back. Needs napari's models only, no window: tests run on ``ViewerModel``.

    person paints ─→ Labels layer ─→ box of the stroke ─→ editor (rules, history)
                          ↑                                   │
                          └───────── box that changed ←───────┘
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils import DirectLabelColormap
from numpy.typing import NDArray

from medseg.labels import LabelTable
from medseg.review.boxes import Box, stroke_box
from medseg.review.delta import delta_between
from medseg.review.display import PLANES, DisplayGrid
from medseg.review.editor import Change, LabelEditor
from medseg.review.label_colors import DIFFERENCE_COLORS, colormap_of, difference_of
from medseg.review.label_names import generic_table
from medseg.review.layers import LayerSource, placement
from medseg.review.slices import ALWAYS_IN_PLANES
from medseg.review.windowing import first_window

__all__ = ["CaseLayers"]

OPACITY: Final = 0.5


@dataclass(eq=False)
class CaseLayers:
    """The layers of one case in one viewer; ``close`` takes them away again. Mutable.

    Attributes:
        images: one a channel, in the order of the scan.
        labels: what is edited.
        opened: the labels as they were opened, hidden at first.
    """

    viewer: ViewerModel
    editor: LabelEditor
    grid: DisplayGrid
    images: list[Image]
    labels: Labels
    opened: Labels
    _place: dict[str, Any]
    maps: dict[str, Image | Labels] = field(default_factory=dict)
    active_channel: int = 0
    is_scan_shown: bool = True
    _is_absorbing: bool = False
    _waiting: Box | None = None

    @classmethod
    def show(
        cls,
        viewer: ViewerModel,
        editor: LabelEditor,
        channels: Mapping[str, NDArray[np.float32]],
        *,
        case_id: str,
        opacity: float = OPACITY,
    ) -> Self:
        """Add the layers of a case.

        Args:
            viewer: the model of a viewer, or the viewer itself.
            editor: whose labels are shown and edited.
            channels: (I, J, K) each, on the grid of the labels, by name.
            case_id: what the metadata of the layers names the case by.
            opacity: of the labels, 0 to 1.
        """
        grid = DisplayGrid(editor.geometry)
        place = placement(LayerSource(case_id, editor.geometry, editor.label_table))
        images = [
            Image(grid.shown(values), name=name, contrast_limits=first_window(values).limits, colormap="gray", **place)
            for name, values in channels.items()
        ]
        for image in images[1:]:
            image.visible = False
        colors = colormap_of(editor.label_table)
        drawn = grid.shown(editor.labels.copy())  # a view: compared with the editor's labels in the order of memory
        before = Labels(
            grid.shown(editor.opened), name="as opened", colormap=colors, opacity=opacity, visible=False, **place
        )
        before.editable = False
        labels = Labels(drawn, name="labels", colormap=colors, opacity=opacity, **place)
        for layer in (*images, before, labels):
            viewer.add_layer(layer)
        viewer.layers.selection.active = labels
        layers = cls(viewer, editor, grid, images, labels, before, place)
        labels.events.paint.connect(layers._on_paint)
        labels.events.labels_update.connect(layers._settle)
        editor.listen(layers._on_change)
        labels.selected_label = next(iter(editor.label_table)).index
        viewer.dims.order = PLANES[0].order
        return layers

    @property
    def all(self) -> tuple[Image | Labels, ...]:
        """Every layer of the case."""
        return (*self.images, self.opened, self.labels, *self.maps.values())

    def close(self) -> None:
        """Take the layers out of the viewer; the editor stays as it is."""
        self.labels.events.paint.disconnect(self._on_paint)
        self.labels.events.labels_update.disconnect(self._settle)
        for layer in self.all:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def absorb(self) -> None:
        """Hand what changed on the layer by other ways than its brush to the editor, as one edit."""
        self._settle()
        shown = self.grid.stored(self.labels.data)
        found = delta_between(self.editor.labels, shown, name="other")
        if len(found):
            box = found.box()
            with self._absorbing():
                self.editor.paint(box, shown[box])
            self._redraw(self.grid.shown_box_of(box))

    def jump_to(self, index: Sequence[float]) -> None:
        """Show the slices through a voxel (i, j, k) of the scan."""
        place = [round(step) for step in self.grid.position_of(index)]
        self.viewer.dims.set_current_step(range(3), place)

    @property
    def position(self) -> tuple[int, int, int]:
        """The voxel (i, j, k) of the scan at which the slices are."""
        z, y, x = self.viewer.dims.current_step[:3]
        i, j, k = (round(place) for place in self.grid.index_of((z, y, x)))
        return i, j, k

    @property
    def depth_axis(self) -> int:
        """The scan's axis that runs through the plane that is shown."""
        return self.grid.axes[self.viewer.dims.order[0]]

    def step_along(self, axis: int) -> int:
        """1 where the next slice on the screen has the next index along an axis of the scan, −1 where the last."""
        here = self.viewer.dims.current_step[:3]
        there = [place + (self.grid.axes[number] == axis) for number, place in enumerate(here)]
        return round(self.grid.index_of(there)[axis] - self.grid.index_of(here)[axis])

    def choose_channel(self, number: int) -> None:
        """Show one channel, and let it limit the brush."""
        self.active_channel = number
        self.show_scan(is_shown=self.is_scan_shown)

    def show_scan(self, *, is_shown: bool) -> None:
        """Show the channel on the canvas, or only in planes beside it: in 3D a scan hides the labels inside it."""
        self.is_scan_shown = is_shown
        for number, image in enumerate(self.images):
            is_active = number == self.active_channel
            image.metadata[ALWAYS_IN_PLANES] = is_active and not is_shown
            image.visible = is_active and is_shown

    def hide_labels(self, hidden: frozenset[int]) -> None:
        """Do not show these labels; they stay as they are."""
        self.labels.colormap = colormap_of(self.editor.label_table, hidden=hidden)

    def show_difference(self, *, is_shown: bool) -> None:
        """What was edited since the case was opened: green where coloured, red where cleared, yellow where changed."""
        if not is_shown:
            self.hide_map("difference")
            return
        layer = Labels(
            self.grid.shown(difference_of(self.editor.opened, self.editor.labels)),
            name="difference",
            colormap=DirectLabelColormap(color_dict=DIFFERENCE_COLORS),
            opacity=0.9,
            **self._place,
        )
        layer.editable = False
        self._put_map("difference", layer)

    def show_map(self, name: str, values: NDArray[np.float32], *, highest: float) -> None:
        """A map (I, J, K) over the scan, such as uncertainty, from 0, clear, to ``highest``."""
        layer = Image(
            self.grid.shown(values),
            name=name,
            colormap="inferno",
            blending="additive",
            opacity=0.6,
            contrast_limits=(0.0, max(highest, 1e-6)),
            **self._place,
        )
        self._put_map(name, layer)

    def show_labels(self, name: str, labels: NDArray[np.uint8], table: LabelTable) -> None:
        """Another segmentation (I, J, K) of the same scan, as outlines."""
        layer = Labels(self.grid.shown(labels), name=name, colormap=colormap_of(table), **self._place)
        layer.contour = 1
        layer.editable = False
        self._put_map(name, layer)

    def show_proposal(self) -> None:
        """Draw what a model has just proposed, in its colours, and compare with it from now on."""
        colors = colormap_of(self.editor.label_table)
        for layer in (self.labels, self.opened):
            layer.colormap = colors
        self.opened.data = self.grid.shown(self.editor.opened)
        if "difference" in self.maps:
            self.show_difference(is_shown=True)

    def show_preview(self, axis: int, first: int, planes: NDArray[np.uint8]) -> None:
        """Planes (I, J, K) along an axis of the scan of a segmentation that is under way, from the first on."""
        if "preview" not in self.maps:
            empty = np.zeros(self.editor.geometry.shape, np.uint8)
            self.show_labels("preview", empty, generic_table(list(range(1, 256))))
        layer = self.maps["preview"]
        stored = np.moveaxis(self.grid.stored(layer.data), axis, 0)
        stored[first : first + planes.shape[axis]] = np.moveaxis(planes, axis, 0)
        layer.refresh()

    def hide_map(self, name: str) -> None:
        """Take a map or another segmentation away."""
        layer = self.maps.pop(name, None)
        if layer is not None and layer in self.viewer.layers:
            self.viewer.layers.remove(layer)

    def _put_map(self, name: str, layer: Image | Labels) -> None:
        self.hide_map(name)
        self.maps[name] = layer
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = active  # what a person edits stays what they edit

    def _on_paint(self, event: Any) -> None:
        """Hand a stroke to the editor: at once where it was dragged, else when it is on the layer.

        napari tells of a filled region, and of a stroke that a program paints, before the voxels change.
        """
        self._settle()
        self._waiting = stroke_box([atom[0] for atom in event.value])
        if all(self._is_on_layer(atom) for atom in event.value[-1:]):
            self._settle()

    def _is_on_layer(self, atom: tuple[Any, ...]) -> bool:
        """Whether the voxels of one part of a stroke hold what was painted: (where, mask, before, after)."""
        *_, after = atom
        values = np.asarray(self.labels.data[atom[0]])
        changed = values if len(atom) == 3 or atom[1] is None else values[atom[1]]
        return bool((changed == after).all())

    def _settle(self, event: Any = None) -> None:  # noqa: ARG002  napari's events come as an argument
        """Give the editor the stroke that waits, and show what its rules left of it."""
        if self._waiting is None or self._is_absorbing:
            return
        box, self._waiting = self._waiting, None
        stored_box = self.grid.box_of(box)
        values = self.grid.stored(self.labels.data)[stored_box]
        limited = self.editor.rules.intensity_range is not None and self.images
        intensities = self.grid.stored(self.images[self.active_channel].data)[stored_box] if limited else None
        with self._absorbing():
            self.editor.paint(stored_box, values, intensities=intensities)
        if not np.array_equal(self.editor.labels[stored_box], values):
            self._redraw(box)
        self._redraw_difference(box)

    def _on_change(self, change: Change) -> None:
        if self._is_absorbing or not len(change.delta):
            return
        box = self.grid.shown_box_of(change.delta.box())
        self._redraw(box)
        self._redraw_difference(box)

    def _redraw(self, box: Box) -> None:
        self.labels.data[box] = self.grid.shown(self.editor.labels)[box]
        self.labels.refresh()

    def _redraw_difference(self, box: Box) -> None:
        layer = self.maps.get("difference")
        if layer is None:
            return
        stored = self.grid.box_of(box)
        layer.data[box] = self.grid.shown(difference_of(self.editor.opened[stored], self.editor.labels[stored]))
        layer.refresh()

    @contextmanager
    def _absorbing(self) -> Iterator[None]:
        """While this lasts, changes of the editor are what the layer shows already."""
        self._is_absorbing = True
        try:
            yield
        finally:
            self._is_absorbing = False
