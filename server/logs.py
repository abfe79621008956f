"""The log on standard error: text for people, or one JSON object a line for machines.

The standard library's logging with one formatter; a package for JSON logs would need as much configuration for the
field names and UTC times.
"""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from onnxpress.server.settings import Settings, options, shown

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# The attributes of every record; others were passed as `extra`.
USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}

logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """ts (ISO 8601, UTC, microseconds), level, logger, message; extras under their names; exception as text."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record as one line, whatever its message contains."""
        told = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: value for name, value in vars(record).items() if name not in USUAL and name not in told}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def configure(settings: Settings, handler: logging.Handler | None = None) -> None:
    """Configures the root logger, also for warnings and uncaught exceptions; `handler` replaces standard error."""
    handler = handler or logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def tell_settings(settings: Settings) -> None:
    """Logs the effective settings, and the origins of those that are not defaults. No setting is itself a secret."""
    tree: dict[str, dict[str, object]] = {}
    words: list[str] = []
    for one in options():
        value, origin = getattr(settings, one.name), settings.origins.get(one.name)
        if one.section not in tree:
            words.append(f"[{one.section}]")
        tree.setdefault(one.section, {})[one.key] = _plain(value)
        words.append(f"{one.key}={shown(value)!r}" + (f" ({origin})" if origin else ""))
    logger.info("settings: %s", " ".join(words), extra={"settings": tree, "origins": dict(settings.origins)})


def _plain(value: object) -> object:
    return shown(value) if isinstance(value, Path) else value


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logger.critical("uncaught %s", kind.__name__, exc_info=(kind, error, trace))


def _uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    error = what.exc_value or what.exc_type()
    name = what.thread.name if what.thread else "?"
    logger.critical("thread %s died", name, exc_info=(what.exc_type, error, what.exc_traceback))


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    """Logs an error that cannot be raised: in a finalizer, or in a callback from C."""
    error = what.exc_value or what.exc_type()
    message = what.err_msg or "exception ignored in"
    logger.error("%s: %r", message, what.object, exc_info=(what.exc_type, error, what.exc_traceback))
