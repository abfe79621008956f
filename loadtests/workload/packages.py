"""A package folder as the load test sees it: the contracts on disk, never the converters' or the server's code."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from onnxpress.loadtests.errors import UsageError
from onnxpress.packages.golden import Golden
from onnxpress.protos.package_pb2 import Layout, Manifest, Profile

Columns = dict[str, NDArray[Any]]
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Package:
    manifest: Manifest
    profile: Profile = field(default_factory=Profile)
    golden: Golden = field(default_factory=lambda: Golden({}, {}, {}))

    @property
    def model(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def matrix(self) -> bool:
        return self.manifest.layout == Layout.MATRIX

    def columns(self) -> list[tuple[str, str]]:
        """(name, datatype) of every column of the training rows, in order."""
        return [(feature.name, feature.datatype) for feature in self.manifest.features]

    def signature(self) -> tuple[Any, ...]:
        """What a request for this package looks like: packages with equal signatures take the same requests."""
        inputs = tuple((tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in self.manifest.inputs)
        return (self.model, inputs, tuple(name for name, _ in self.columns()))


def read_package(folder: Path) -> Package:
    """The package in `folder`. Raises UsageError naming the file that is missing or broken."""
    if not folder.is_dir():
        raise UsageError(f"no package at {folder}: give a version's folder, such as models/churn/1")
    manifest = _parse(folder / "manifest.json", Manifest())
    if not manifest.inputs:
        raise UsageError(f"{folder / 'manifest.json'} names no inputs")
    profile = _parse(folder / "profile.json", Profile()) if (folder / "profile.json").exists() else Profile()
    return Package(manifest, profile, _golden(folder / "golden.npz"))


def read_packages(folders: Sequence[Path]) -> tuple[Package, ...]:
    """Every package; packages of one model must take the same requests, since one request may meet any of them."""
    packages = tuple(read_package(folder) for folder in folders)
    by_model: dict[str, Package] = {}
    for package in packages:
        first = by_model.setdefault(package.model, package)
        if first.signature() != package.signature():
            raise UsageError(
                f"versions {first.version} and {package.version} of {package.model} take different inputs: "
                "no request fits both"
            )
    return packages


def _parse(path: Path, message: M) -> M:
    try:
        return json_format.Parse(path.read_bytes(), message, ignore_unknown_fields=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not what protos/package.proto describes: {error}") from error


def _golden(path: Path) -> Golden:
    if not path.exists():
        return Golden({}, {}, {})
    try:
        return Golden.from_bytes(path.read_bytes())
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
