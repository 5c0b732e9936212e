"""What the panels say: errors that a person can mend, notes, and nothing else; shown in one line, kept in a log.

In: actions of the panels. Out: their errors as text on the panel instead of a stack trace.
"""

from collections.abc import Callable

from qtpy.QtCore import QObject, Signal

from medseg.errors import MedsegError

__all__ = ["Teller"]


class Teller(QObject):
    """Runs what a person asked for and says what went wrong.

    ``said`` carries the text and whether it is an error.
    """

    said = Signal(str, bool)

    def told(self, act: Callable[[], object]) -> bool:
        """Whether ``act`` went well; what medseg refuses is said."""
        try:
            act()
        except MedsegError as error:
            self.said.emit(str(error), True)
            return False
        return True

    def say(self, text: str) -> None:
        """Say something that is no error."""
        self.said.emit(text, False)
