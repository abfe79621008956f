"""What the control plane asks of wherever packages come from."""

from pathlib import Path
from typing import Protocol


class Source(Protocol):
    """Every method blocks, may be called from any thread, and tells what is there now."""

    def models(self) -> list[str]:
        """Names with at least one version, ascending."""
        ...

    def versions(self, model: str) -> list[int]:
        """Version numbers, ascending; empty where there is no such model."""
        ...

    def fetch(self, model: str, version: int) -> Path:
        """A local folder with the package of a version, absolute; nobody changes what is in it.

        Raises UnknownModelError, UnknownVersionError.
        """
        ...
