"""The status of a model and its versions, and the result of a change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from onnxpress.packages.verdicts import StoredVerdict
from onnxpress.server.serving.lane import Lane
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.lifecycle import State

MISSING = "package missing"


@dataclass(frozen=True)
class VersionStatus:
    """The status of a version."""

    version: int
    state: State
    reason: str = ""
    lane: Lane | None = None
    verdict: StoredVerdict | None = None  # of the gate, as it lies beside the package now


@dataclass(frozen=True)
class ModelStatus:
    """A model's deployment and versions at one moment."""

    model: str
    desired: Desired
    served_version: int  # the version that answers here; 0: none
    served_epoch: int
    trouble: str  # why it is not the desired version; empty if it is
    versions: tuple[VersionStatus, ...]


@dataclass(frozen=True)
class Outcome:
    """The result of a deploy or rollback."""

    model: str
    version: int
    previous: int
    epoch: int
    changed: bool


def with_disk(
    versions: Mapping[int, VersionStatus], on_disk: Mapping[int, StoredVerdict | None]
) -> tuple[VersionStatus, ...]:
    """The versions known to this process and those found on disk with their verdicts, in order of number."""
    told = {version: VersionStatus(version, State.AVAILABLE) for version in on_disk}
    for version, status in versions.items():
        lost = status.state is State.READY and version not in told
        told[version] = replace(status, reason=MISSING) if lost else status
    return tuple(replace(told[version], verdict=on_disk.get(version)) for version in sorted(told))
