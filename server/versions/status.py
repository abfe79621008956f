"""What is known of a model's versions, and what a change of its deployment did."""

from dataclasses import dataclass

from onnxpress.protos.deployment_pb2 import Deployment
from onnxpress.server.serving.lane import Lane
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.lifecycle import State


@dataclass(frozen=True)
class VersionStatus:
    """What is known of a version now."""

    version: int
    state: State
    reason: str = ""
    lane: Lane | None = None


@dataclass(frozen=True)
class ModelStatus:
    """A model's deployment and versions at one moment."""

    model: str
    desired: Desired
    deployment: Deployment | None
    versions: tuple[VersionStatus, ...]


@dataclass(frozen=True)
class Outcome:
    """What a deploy or rollback did."""

    model: str
    version: int
    previous: int
    epoch: int
    changed: bool
