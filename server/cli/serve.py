"""`onnxpress serve`: the server in this process until it is told to stop."""

from typing import Any

import click

from onnxpress.cli.live import LiveLine
from onnxpress.cli.options import DeclaredOptions, FailedError, RefusedError
from onnxpress.packages.errors import OnnxpressError
from onnxpress.server.cli.loading import LoadingDisplay
from onnxpress.server.errors import BrokenServerError, UsageError
from onnxpress.server.settings import add_flags, resolve


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
    display = LoadingDisplay(LiveLine())
    try:
        settings = resolve(flags)
        if not settings.repository.is_dir():
            raise UsageError(f"repository {str(settings.repository)!r} is not a folder")
        # Imported late: --help and a wrong flag need no ONNX Runtime.
        from onnxpress.server.wiring import serve as run

        run(settings, *((display.watch, display) if display.alive else ()))
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    except BrokenServerError as error:
        raise FailedError(str(error)) from error
    except OnnxpressError as error:
        raise RefusedError(str(error)) from error
    finally:
        display.close()
