"""The interface between the control plane and the sources of packages."""

from pathlib import Path
from typing import Protocol

from onnxpress.packages.verdicts import StoredVerdict


class Source(Protocol):
    """Every method blocks, may be called from any thread, and returns the current state."""

    def models(self) -> list[str]:
        """Names with at least one version, ascending."""
        ...

    def versions(self, model: str) -> list[int]:
        """Version numbers, ascending; empty where there is no such model."""
        ...

    def fetch(self, model: str, version: int) -> Path:
        """An absolute path of a local folder with the package of a version; its contents never change.

        Raises UnknownModelError, UnknownVersionError.
        """
        ...

    def verdict(self, model: str, version: int) -> StoredVerdict | None:
        """The newest verdict of `onnxpress gate` on a version; None: there is none."""
        ...
