"""`onnxpress serve`: the server in this process until it is told to stop."""

import logging
import os
from typing import Any

import click
from click.exceptions import Exit

from onnxpress.cli.live import LiveLine
from onnxpress.cli.options import DeclaredOptions, FailedError, RefusedError
from onnxpress.packages.errors import OnnxpressError
from onnxpress.server import logs
from onnxpress.server.cli.loading import LoadingDisplay
from onnxpress.server.errors import BrokenServerError, UsageError
from onnxpress.server.settings import Settings, add_flags, resolve

logger = logging.getLogger(__name__)


def _flags() -> list[click.Parameter]:
    declared = DeclaredOptions()
    add_flags(declared)
    return declared.options


@click.command(
    params=[click.Argument(["folder"], metavar="[REPOSITORY]", required=False, type=click.Path()), *_flags()]
)
def serve(folder: str | None, **flags: Any) -> None:
    """Serves a repository of models over gRPC until SIGTERM.

    REPOSITORY is the folder of all models, as --repository. Each flag is also a variable (ONNXPRESS_GRPC_PORT) and a
    key of the file given by --config.
    """
    if folder is not None:
        if flags["repository"] not in (None, folder):
            raise click.UsageError(f"two repositories: {folder} and --repository {flags['repository']}")
        flags["repository"] = folder
    try:
        settings = resolve(flags)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    try:
        _run(settings)
    except OnnxpressError as error:
        told = _exception(error)
        if settings.log_format == "json":
            logs.configure(settings)
            logger.critical(error)
            raise Exit(told.exit_code) from error
        raise told from error


def _exception(error: OnnxpressError) -> click.ClickException:
    """Exit 2 for a wrong setting, 1 for a server that broke, 3 for one that cannot start."""
    if isinstance(error, UsageError):
        return click.UsageError(str(error))
    return FailedError(str(error)) if isinstance(error, BrokenServerError) else RefusedError(str(error))


def _run(settings: Settings) -> None:
    """Raises OnnxpressError when it cannot start."""
    if not settings.repository.is_dir():
        raise UsageError(f"repository {str(settings.repository)!r} is not a folder")
    if settings.log_format == "json":
        # gRPC's C core writes its own log to standard error, at a level that it reads when it is imported.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Imported late: --help and a wrong flag need no ONNX Runtime.
    from onnxpress.server.wiring import serve as run

    display = LoadingDisplay(LiveLine())
    try:
        run(settings, *((display.watch, display) if display.alive else ()))
    finally:
        display.close()
