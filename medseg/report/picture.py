"""A picture of a segmentation: three planes through it, outlines in the label colours, volumes in a legend.

In: the scan as read and its labels. Out: a PNG that says at a glance whether a run went well. Where the labels
are small in the scan a second row shows them enlarged.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from monai.data import MetaTensor

from medseg.atomic import atomic_write
from medseg.geometry import Geometry
from medseg.label_map import Box
from medseg.labels import LabelTable
from medseg.report.canvas import BRIGHT, DIM, PLAIN, POINTS_PER_PX, Canvas, shorten
from medseg.report.layout import SIDE_PX, PanelBox, Panels, lay_out_panels, nice_length_mm
from medseg.report.legend import LegendLine, legend_lines
from medseg.report.outlines import outline_layer
from medseg.report.planes import Display, View, best_slices, display_of, grey_window
from medseg.report.statistics import label_statistics
from medseg.segmentation import Segmentation

__all__ = ["draw_segmentation", "write_picture"]

MARGIN_PX = 24
HEADER_PX = 70
FOOTER_PX = 44
PANELS_WIDTH_PX = 1240
PANELS_HEIGHT_PX = 500
LEGEND_GAP_PX = 24
LEGEND_WIDTH_PX = 280
LEGEND_PITCH_PX = 24
LEGEND_VOLUME_PX = 80
LEGEND_MARK_PX = 10
SWATCH_PX = 13
SHORTEST_SCALE_BAR_PX = 30
TICK_PX = 6
LETTER_PX = 16

WORTHWHILE_ENLARGEMENT = 1.4
"""Below this a second row would repeat the first."""

CROP_MARGIN_SHARE = 0.12
CROP_MARGIN_VOXELS = 4
"""Around the labels of an enlarged plane: enough of the surroundings to judge an outline."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What is drawn: a display, the slice of each axis, the grey window and the colours."""

    display: Display
    slices: tuple[int, int, int]
    grey_range: tuple[float, float]
    label_table: LabelTable


def draw_segmentation(image: MetaTensor, segmentation: Segmentation, *, case_id: str, bundle_name: str) -> Figure:
    """The picture as a matplotlib figure on an Agg canvas.

    Args:
        image: (C, I, J, K) on the grid of the labels; the first channel is shown.
        segmentation: the labels; none found is drawn too.
        case_id: what the title calls the case.
        bundle_name: what the title calls the model.
    Raises:
        GeometryError: image and labels lie on different grids.
        DataError: the labels hold a value that their table does not have.
    """
    statistics = label_statistics(segmentation, image[:1], channel_names=("shown",))
    display = display_of(image, segmentation)
    scene = Scene(display, best_slices(display), grey_window(display.image), segmentation.label_table)
    rows = _rows(display)
    panels_width = max(row.width for _, row in rows)
    canvas = Canvas.blank(
        width=max(MARGIN_PX + panels_width + LEGEND_GAP_PX + LEGEND_WIDTH_PX + LEGEND_MARK_PX + MARGIN_PX, 700),
        height=HEADER_PX + sum(row.height for _, row in rows) + FOOTER_PX,
    )
    _draw_header(canvas, segmentation.geometry, case_id=case_id, bundle_name=bundle_name)
    crop = rows[-1][0] if len(rows) > 1 else None
    for box, row in rows:
        _draw_row(canvas, scene, box, row, frame=crop if box is not crop else None)
    room = (canvas.height - HEADER_PX - FOOTER_PX) // LEGEND_PITCH_PX
    lines = legend_lines(statistics, scene.label_table, in_planes=_labels_in_planes(scene), room=room)
    _draw_legend(canvas, lines)
    _draw_footer(canvas, segmentation.geometry, lines, scene.grey_range)
    return canvas.figure


def write_picture(
    path: Path, image: MetaTensor, segmentation: Segmentation, *, case_id: str, bundle_name: str, overwrite: bool
) -> None:
    """The picture of ``draw_segmentation`` as a PNG; the same input gives the same bytes.

    Raises:
        GeometryError: image and labels lie on different grids.
        DataError: the labels hold a value that their table does not have.
        OutputError: the file exists, or cannot be written.
    """
    figure = draw_segmentation(image, segmentation, case_id=case_id, bundle_name=bundle_name)
    with atomic_write(path, overwrite=overwrite) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})  # type: ignore[no-untyped-call]


def _rows(display: Display) -> list[tuple[Box, Panels]]:
    """The whole scan, and below it the labels enlarged where that is worthwhile, each with its place."""
    whole = display.whole
    overview = _panels(display, whole, top=HEADER_PX)
    crop = display.label_box(margin_share=CROP_MARGIN_SHARE, margin_voxels=CROP_MARGIN_VOXELS)
    if crop is None:
        return [(whole, overview)]
    enlarged = _panels(display, crop, top=HEADER_PX + overview.height)
    if enlarged.px_per_mm < WORTHWHILE_ENLARGEMENT * overview.px_per_mm:
        return [(whole, overview)]
    return [(whole, overview), (crop, enlarged)]


def _panels(display: Display, box: Box, *, top: int) -> Panels:
    sizes_mm = [(_side_mm(display, box, view.columns), _side_mm(display, box, view.rows)) for view in display.views()]
    left = MARGIN_PX - SIDE_PX // 2
    return lay_out_panels(sizes_mm, left=left, top=top, width_px=PANELS_WIDTH_PX, height_px=PANELS_HEIGHT_PX)


def _side_mm(display: Display, box: Box, axis: int) -> float:
    voxels: int = box[axis].stop - box[axis].start
    return voxels * display.spacing_mm[axis]


def _draw_row(canvas: Canvas, scene: Scene, box: Box, row: Panels, *, frame: Box | None) -> None:
    """The panels of one row with their letters and the scale bar; ``frame`` marks what the row below enlarges."""
    for view, panel in zip(scene.display.views(), row.boxes, strict=True):
        _draw_plane(canvas, scene, view, panel, box=box, frame=frame)
        _draw_surroundings(canvas, scene, view, panel, box=box)
    widest = max(panel.width for panel in row.boxes)
    length_mm = nice_length_mm(max(widest / 3, SHORTEST_SCALE_BAR_PX) / row.px_per_mm)
    left, y = row.boxes[0].left, row.scale_bar_y
    right = left + length_mm * row.px_per_mm
    canvas.line(xs=(left, right), ys=(y, y))
    for end in (left + 1, right - 1):
        canvas.line(xs=(end, end), ys=(y - 4, y + 4))
    canvas.text(f"{length_mm:g} mm", left=right + 8, top=y, size=12)


def _draw_plane(canvas: Canvas, scene: Scene, view: View, panel: PanelBox, *, box: Box, frame: Box | None) -> None:
    """One plane: grey values, outlines over them, and the border of ``frame``."""
    index = scene.slices[view.normal]
    black, white = scene.grey_range
    grey = scene.display.grey_plane(view, index, box).clip(black, white)  # infinities would spread when interpolated
    labels = scene.display.label_plane(view, index, box)
    rows, columns = grey.shape
    axes = canvas.axes(panel, columns=columns, rows=rows)
    over_voxels: dict[str, Any] = {"extent": (0, columns, rows, 0), "aspect": "auto", "origin": "upper"}
    axes.imshow(grey, cmap="gray", vmin=black, vmax=white, interpolation="bilinear", **over_voxels)
    layer = outline_layer(labels, scene.label_table, width=panel.width, height=panel.height)
    axes.imshow(layer, interpolation="nearest", **over_voxels)
    if frame is not None:
        across, down = frame[view.columns], frame[view.rows]
        axes.add_patch(
            Rectangle(
                (across.start, down.start),
                across.stop - across.start,
                down.stop - down.start,
                fill=False,
                edgecolor=PLAIN,
                linewidth=POINTS_PER_PX,
                linestyle=(0, (4, 3)),
            )
        )


def _draw_surroundings(canvas: Canvas, scene: Scene, view: View, panel: PanelBox, *, box: Box) -> None:
    """The plane's name, the four letters, and a tick on each side where the other planes cut this one."""
    right, bottom = panel.left + panel.width, panel.top + panel.height
    middle_x, middle_y = panel.left + panel.width / 2, panel.top + panel.height / 2
    slice_name = scene.display.stored_slice(view, scene.slices[view.normal])
    canvas.text(f"{view.name}  {slice_name}", left=panel.left, top=panel.top - 38)
    for letter, x, y in (
        (view.left, panel.left - LETTER_PX, middle_y),
        (view.right, right + LETTER_PX, middle_y),
        (view.top, middle_x, panel.top - LETTER_PX),
        (view.bottom, middle_x, bottom + LETTER_PX),
    ):
        canvas.text(letter, left=x, top=y, size=14, color=PLAIN, ha="center", weight="bold")
    x = panel.left + _position(scene, view.columns, box) * panel.width
    y = panel.top + _position(scene, view.rows, box) * panel.height
    for start, end in ((panel.top - TICK_PX, panel.top - 1), (bottom + 1, bottom + TICK_PX)):
        canvas.line(xs=(x, x), ys=(start, end), color=DIM)
    for start, end in ((panel.left - TICK_PX, panel.left - 1), (right + 1, right + TICK_PX)):
        canvas.line(xs=(start, end), ys=(y, y), color=DIM)


def _position(scene: Scene, axis: int, box: Box) -> float:
    """Where the middle of the shown slice lies along one side of the box, from 0 to 1."""
    start, stop = int(box[axis].start), int(box[axis].stop)
    return (scene.slices[axis] + 0.5 - start) / (stop - start)


def _labels_in_planes(scene: Scene) -> frozenset[int]:
    display = scene.display
    planes = [display.label_plane(view, scene.slices[view.normal], display.whole) for view in display.views()]
    return frozenset(int(value) for plane in planes for value in np.unique(plane))


def _draw_header(canvas: Canvas, geometry: Geometry, *, case_id: str, bundle_name: str) -> None:
    width = canvas.width - 2 * MARGIN_PX
    canvas.text(shorten(case_id, width_px=width, size=20), left=MARGIN_PX, top=26, size=20, color=BRIGHT, weight="bold")
    shape = " × ".join(str(size) for size in geometry.shape)
    spacing = " × ".join(f"{size:.3g}" for size in geometry.spacing_mm)
    grid = f"{shape} voxels of {spacing} mm, {geometry.axcodes}{' oblique' if geometry.is_oblique else ''}"
    canvas.text(shorten(f"{bundle_name}  ·  {grid}", width_px=width, size=13), left=MARGIN_PX, top=52, color=DIM)


def _draw_legend(canvas: Canvas, lines: tuple[LegendLine, ...]) -> None:
    right = canvas.width - MARGIN_PX - LEGEND_MARK_PX
    left = right - LEGEND_WIDTH_PX
    for number, line in enumerate(lines):
        y = HEADER_PX + 14 + number * LEGEND_PITCH_PX
        color = DIM if line.color is None else PLAIN
        if line.color is not None:
            red, green, blue = (part / 255 for part in line.color)
            canvas.swatch(
                left=left,
                top=y - SWATCH_PX / 2,
                side=SWATCH_PX,
                color=(red, green, blue),
                is_filled=line.is_in_planes,
            )
        name_px = LEGEND_WIDTH_PX - 24 - (LEGEND_VOLUME_PX if line.volume else 0)
        name = shorten(line.text, width_px=name_px, size=13)
        canvas.text(name, left=left + 24, top=y, color=color)
        canvas.text(line.volume, left=right, top=y, color=color, ha="right")
        if line.is_cut:
            canvas.text("*", left=right + 2, top=y, color=color)


def _draw_footer(
    canvas: Canvas, geometry: Geometry, lines: tuple[LegendLine, ...], grey_range: tuple[float, float]
) -> None:
    """What a reader must know to read the picture."""
    black, white = grey_range
    remarks = [
        "Radiological display: right is on the left.",
        f"Grey from {black:.4g} to {white:.4g}.",
        "i, j, k: slice in the file, from 0.",
    ]
    if geometry.is_oblique:
        remarks.append("Oblique scan: letters name the nearest direction.")
    if any(line.color is not None and not line.is_in_planes for line in lines):
        remarks.append("Hollow: not in these planes.")
    if any(line.is_cut for line in lines):
        remarks.append("* reaches the edge of the scan.")
    text = shorten("  ".join(remarks), width_px=canvas.width - 2 * MARGIN_PX, size=12)
    canvas.text(text, left=MARGIN_PX, top=canvas.height - 22, size=12, color=DIM)
