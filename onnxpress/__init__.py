"""onnxpress: compiles trained models to ONNX, proves them equal, serves and swaps them over gRPC.

The public Python API. Names are imported when they are first used, so that a server needs none of the converters'
dependencies.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxpress.client.aio import AsyncClient
    from onnxpress.client.errors import CallError, ClientError, RowsError
    from onnxpress.client.sync import Client
    from onnxpress.converters.convert import convert
    from onnxpress.packages.errors import ConversionRefused, RefusedPackageError
    from onnxpress.packages.package import Package
    from onnxpress.packages.read import load

__all__ = [
    "AsyncClient",
    "CallError",
    "Client",
    "ClientError",
    "ConversionRefused",
    "Package",
    "RefusedPackageError",
    "RowsError",
    "convert",
    "load",
]

HOMES = {
    "AsyncClient": "onnxpress.client.aio",
    "CallError": "onnxpress.client.errors",
    "Client": "onnxpress.client.sync",
    "ClientError": "onnxpress.client.errors",
    "ConversionRefused": "onnxpress.packages.errors",
    "Package": "onnxpress.packages.package",
    "RefusedPackageError": "onnxpress.packages.errors",
    "RowsError": "onnxpress.client.errors",
    "convert": "onnxpress.converters.convert",
    "load": "onnxpress.packages.read",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
