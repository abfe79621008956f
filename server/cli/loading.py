"""What `onnxpress serve` shows on a terminal while versions load: the log, and a live line below it."""

import logging
import threading
from typing import TYPE_CHECKING

from onnxpress.cli.live import LiveLine

if TYPE_CHECKING:
    from onnxpress.server.versions.status import ModelStatus


class LoadingDisplay(logging.Handler):
    """A log handler, so that log lines and the live line share the terminal, and `logging.shutdown` frees it.

    Owns the set of versions being loaded, under its lock; may be called from any thread.
    """

    def __init__(self, line: LiveLine) -> None:
        super().__init__()
        self._line = line
        self._loading: dict[str, list[int]] = {}
        self._changes = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether standard error is a terminal."""
        return self._line.alive

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._line.above(self.format(record))
        except Exception:  # noqa: BLE001 -- logging's rule: a line that cannot be written must not end the program
            self.handleError(record)

    def watch(self, model: "ModelStatus") -> None:
        """Updates the live line for a model whose versions changed state."""
        with self._changes:
            self._loading[model.model] = [one.version for one in model.versions if one.state.value == "loading"]
            names = [f"{name} version {version}" for name, versions in self._loading.items() for version in versions]
            if names:
                self._line.show(f"loading {', '.join(names)}")
            else:
                self._line.clear()

    def close(self) -> None:
        self._line.clear()
        super().close()
