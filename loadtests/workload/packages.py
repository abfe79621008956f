"""The packages of the versions under test: read once, and checked to take the same requests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnxpress.loadtests.errors import UsageError
from onnxpress.packages.errors import RefusedPackageError
from onnxpress.packages.package import Package
from onnxpress.packages.read import load

Columns = dict[str, NDArray[Any]]


def signature(package: Package) -> tuple[Any, ...]:
    """What a request for this package looks like: packages with equal signatures take the same requests."""
    inputs = tuple((tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in package.manifest.inputs)
    return (package.model, inputs, tuple(name for name, _ in package.columns()))


def read_package(folder: Path) -> Package:
    """The package in `folder`, its digests verified. Raises UsageError naming the file that is missing or broken."""
    if not folder.is_dir():
        raise UsageError(f"no package at {folder}: give a version's folder, such as models/churn/1")
    try:
        package = load(folder)
    except RefusedPackageError as error:
        raise UsageError(f"{folder}: {error}") from error
    if package.bare:
        raise UsageError(f"{folder} has no manifest.json, so the shape of its requests is not known")
    return package


def read_packages(folders: Sequence[Path]) -> tuple[Package, ...]:
    """Every package. All versions of a model must take the same requests, since any of them may answer one."""
    packages = tuple(read_package(folder) for folder in folders)
    by_model: dict[str, Package] = {}
    for package in packages:
        first = by_model.setdefault(package.model, package)
        if signature(first) != signature(package):
            raise UsageError(
                f"versions {first.version} and {package.version} of {package.model} take different inputs: "
                "no request fits both"
            )
    return packages
