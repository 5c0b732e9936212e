"""What a widget listens to, so that all of it can be let go when the widget is hidden or gone."""

from collections.abc import Callable
from typing import Any

__all__ = ["Listening"]


class Listening:
    """The events a widget was connected to, and their callbacks."""

    def __init__(self) -> None:
        self._connections: list[tuple[Any, Callable[..., None]]] = []

    def to(self, *events: Any, tell: Callable[..., None]) -> None:
        """Connect each of ``events`` to ``tell``, after napari's own listeners: what they do has happened then."""
        for event in events:
            event.connect(tell, position="last")
            self._connections.append((event, tell))

    def stop(self) -> None:
        """Disconnect everything; a widget that is gone would otherwise be called on."""
        for event, callback in self._connections:
            event.disconnect(callback)
        self._connections.clear()
