"""The live line at the bottom of a terminal: the current activity and its duration."""

import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from onnxpress.cli.output import printable, terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

REFRESHES_PER_S = 8


class LiveLine:
    """One line on standard error. If that is not a terminal, `alive` is False and nothing is shown.

    Owns the terminal's last line from the first `show` until `clear`, under its lock: any thread may call.
    """

    def __init__(self) -> None:
        self._console: Console | None = terminal(sys.stderr)
        self._progress: Progress | None = None
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        return self._console is not None

    def show(self, text: str) -> None:
        """Replaces the line; its clock restarts if the text changes."""
        with self._lock:
            if self._console is None:
                return
            text = printable(text)
            if self._progress is None:
                self._progress = _progress(self._console)
                self._progress.start()
            tasks = self._progress.tasks
            if tasks and tasks[0].description == text:
                return
            for task in tasks:
                self._progress.remove_task(task.id)
            self._progress.add_task(text, total=None)

    def above(self, text: str) -> None:
        """Prints a line above the live one; it stays."""
        with self._lock:
            if self._console is not None:
                self._console.print(text, soft_wrap=True)

    def clear(self) -> None:
        """Removes the line and shows the cursor again."""
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def _progress(console: Any) -> "Progress":
    from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn
    from rich.table import Column
    from rich.text import Text

    class Description(ProgressColumn):
        """The only column that shrinks in a narrow terminal; its end is cut off, so that the line is not wrapped."""

        def render(self, task: Task) -> Text:
            return Text(task.description, no_wrap=True, overflow="ellipsis")

    columns = (SpinnerColumn(), Description(Column(no_wrap=False)), TimeElapsedColumn())
    return Progress(
        *columns, console=console, transient=True, refresh_per_second=REFRESHES_PER_S, redirect_stdout=False
    )
