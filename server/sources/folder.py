"""The repository folder. The only module that builds paths in it; reads the disk at each call."""

import os
from dataclasses import dataclass
from pathlib import Path

from onnxpress.packages.names import is_model_name, is_version
from onnxpress.packages.package import MODEL_FILE
from onnxpress.packages.verdicts import StoredVerdict, file_name, read_verdict
from onnxpress.server.errors import UnknownModelError, UnknownVersionError


@dataclass(frozen=True)
class FolderSource:
    """Triton's layout: `<root>/<model>/<version>/model.onnx`, names and versions by the rules of packages.names."""

    root: Path

    def models(self) -> list[str]:
        """Names with at least one version, ascending."""
        return sorted(name for name in self._names() if self.versions(name))

    def versions(self, model: str) -> list[int]:
        """Version numbers, ascending; empty where there is no such model."""
        if not is_model_name(model) or not (folder := self.root / model).is_dir():
            return []
        return sorted(
            int(entry.name) for entry in folder.iterdir() if is_version(entry.name) and (entry / MODEL_FILE).is_file()
        )

    def fetch(self, model: str, version: int) -> Path:
        """An absolute path of a local folder with the package of a version; its contents never change.

        Raises UnknownModelError, UnknownVersionError.
        """
        versions = self.versions(model)
        if not versions:
            raise UnknownModelError(f"model {model!r} is not in the repository; there are {_list(self.models())}")
        if version not in versions:
            raise UnknownVersionError(f"model {model!r} has no version {version}; there are {_list(versions)}")
        return (self.root / model / str(version)).absolute()

    def verdict(self, model: str, version: int) -> StoredVerdict | None:
        """The newest verdict of `onnxpress gate` on a version; None: there is none."""
        return read_verdict(self.root / model / file_name(version)) if is_model_name(model) else None

    def model_file(self, model: str, name: str) -> Path | None:
        """The path of a file of the model itself; None for an invalid name (a path, a hidden folder)."""
        return self.root / model / name if is_model_name(model) else None

    def model_files(self, name: str) -> dict[str, os.stat_result]:
        """Model -> stat of its file `name`, if there is one; one system call per folder."""
        found = {}
        for model in self._names():
            try:
                found[model] = os.stat(f"{self.root}/{model}/{name}")  # noqa: PTH116 -- asked often; a Path costs more
            except OSError:
                continue
        return found

    def _names(self) -> list[str]:
        """Folders with a valid model name."""
        try:
            return [name for name in os.listdir(self.root) if is_model_name(name)]  # noqa: PTH208 -- names only
        except OSError:
            return []


def _list(things: list[str] | list[int]) -> str:
    return ", ".join(map(str, things)) or "none"
