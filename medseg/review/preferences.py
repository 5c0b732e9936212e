"""What a person set on the plugin's page of napari's preferences.

In: napari's settings of the plugin. Out: a frozen value, with the defaults of the manifest where napari knows none.
"""

from typing import Final

from napari.settings import get_plugin_settings
from pydantic import Field

from medseg.settings import Settings

__all__ = ["ReviewPreferences", "review_preferences"]

PLUGIN: Final = "medseg"


class ReviewPreferences(Settings):
    """The reviewer's name, how opaque new labels are (0 to 1), and the seconds between two autosaves."""

    reviewer: str = ""
    overlay_opacity: float = Field(default=0.5, ge=0, le=1)
    autosave_s: float = Field(default=3, ge=1, le=60)


def review_preferences() -> ReviewPreferences:
    """The preferences as they stand now; the defaults where the plugin is not installed in this napari."""
    try:
        page = get_plugin_settings(PLUGIN).review
    except (KeyError, AttributeError):
        return ReviewPreferences()
    return ReviewPreferences(reviewer=page.reviewer, overlay_opacity=page.overlay_opacity, autosave_s=page.autosave_s)
