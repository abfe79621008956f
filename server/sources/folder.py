"""The folder of all models: which names and versions it holds now. Reads the disk each time, keeps nothing."""

from dataclasses import dataclass
from pathlib import Path

from onnxpress.packages.names import is_model_name, is_version
from onnxpress.packages.read import MODEL_FILE, Package, read_package
from onnxpress.server.errors import UnknownModelError, UnknownVersionError


@dataclass(frozen=True)
class Repository:
    """Triton's layout: `<root>/<model>/<version>/model.onnx`, names and versions by the rules of packages.names."""

    root: Path
    model_mib_max: int

    def models(self) -> list[str]:
        """Names with at least one version folder."""
        if not self.root.is_dir():
            return []
        return sorted(entry.name for entry in self.root.iterdir() if self.versions(entry.name))

    def versions(self, model: str) -> list[int]:
        """Version numbers on disk, ascending; empty where there is no such model."""
        folder = self.folder(model)
        if folder is None or not folder.is_dir():
            return []
        return sorted(
            int(entry.name) for entry in folder.iterdir() if is_version(entry.name) and (entry / MODEL_FILE).is_file()
        )

    def folder(self, model: str) -> Path | None:
        """Where a model lies; None for what cannot be a model's name (a path, a hidden folder)."""
        return self.root / model if is_model_name(model) else None

    def read(self, model: str, version: int) -> Package:
        """The package of a version. Raises UnknownModelError, UnknownVersionError, RefusedPackageError."""
        versions = self.versions(model)
        folder = self.folder(model)
        if not versions or folder is None:
            raise UnknownModelError(f"model {model!r} is not in the repository; there are {_list(self.models())}")
        if version not in versions:
            raise UnknownVersionError(f"model {model!r} has no version {version}; there are {_list(versions)}")
        return read_package(folder / str(version), model, version, self.model_mib_max)


def _list(things: list[str] | list[int]) -> str:
    return ", ".join(map(str, things)) or "none"
