"""`onnxpress serve`: the server in this process until it is told to stop."""

import argparse
import sys
from collections.abc import Sequence

from onnxpress.packages.errors import OnnxpressError
from onnxpress.server.errors import (
    UsageError,
)
from onnxpress.server.settings import add_flags, resolve

USAGE, REFUSED = 2, 3


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="onnxpress serve", description="Serve a repository of models over gRPC.")
    add_flags(parser)
    flags = vars(parser.parse_args(argv[1:]))
    try:
        settings = resolve(flags)
        if not settings.repository.is_dir():
            raise UsageError(f"repository {str(settings.repository)!r} is not a folder")
        # Imported late: --help and a wrong flag need no ONNX Runtime.
        from onnxpress.server.wiring import serve  # noqa: PLC0415

        serve(settings)
    except UsageError as error:
        return _fail(error, USAGE)
    except OnnxpressError as error:
        return _fail(error, REFUSED)
    return 0


def _fail(error: Exception, code: int) -> int:
    print(f"onnxpress serve: {error}", file=sys.stderr)
    return code
