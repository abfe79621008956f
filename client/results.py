"""The results of the client's calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from numpy.typing import NDArray

from onnxpress.protos import admin_pb2 as pb

STATE_PREFIX = "VERSION_STATE_"


@dataclass(frozen=True, eq=False)
class InferResult:
    """The answer to one request.

    outputs: arrays by output name, first axis the row, in the model's datatypes (text as Python strings in an object
    array); a classifier of our converters has `label` [rows] and `probabilities` [rows, classes]. model, version: those
    that answered. id: that of the request.
    """

    model: str
    version: int
    id: str
    outputs: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The output of that name. Raises KeyError with the names that there are."""
        try:
            return self.outputs[name]
        except KeyError:
            raise KeyError(f"no output {name!r}: there are {', '.join(self.outputs)}") from None

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self.outputs.items())
        return f"InferResult({self.model}/{self.version}: {shapes})"


@dataclass(frozen=True)
class DeployResult:
    """The result of a deploy or rollback: `version` is live now (of a dry run: would be), `previous_version` was.

    epoch: the deployment's revision. changed: False when the version was live already, and for a dry run.
    """

    model: str
    version: int
    previous_version: int | None
    epoch: int
    changed: bool


@dataclass(frozen=True)
class VersionStatus:
    """state: available, loading, ready, draining or failed. reason: why it failed, or what is wrong with its files.

    Of a loaded version: digest: SHA-256 of model.onnx. alone: why its requests never share a batch; empty: they do.
    engine: from how many rows on the compiled forest runs batches, or why ONNX Runtime runs all.
    """

    version: int
    state: str
    reason: str
    digest: str
    alone: str
    engine: str


@dataclass(frozen=True)
class ModelStatus:
    """A model's deployment and its versions; `reason`, `actor` and `updated_at` are those of the last change.

    live_version None: nothing is live. previous_version: the one that a rollback would make live.
    """

    model: str
    epoch: int
    live_version: int | None
    previous_version: int | None
    reason: str
    actor: str
    updated_at: datetime | None
    versions: tuple[VersionStatus, ...]


def deploy_result(message: pb.DeployResponse) -> DeployResult:
    return DeployResult(
        message.model, message.version, message.previous_version or None, message.epoch, message.changed
    )


def model_status(message: pb.GetDeploymentResponse) -> ModelStatus:
    return ModelStatus(
        model=message.model,
        epoch=message.epoch,
        live_version=message.live_version or None,
        previous_version=message.previous_version or None,
        reason=message.reason,
        actor=message.actor,
        updated_at=message.updated_at.ToDatetime(UTC) if message.HasField("updated_at") else None,
        versions=tuple(
            VersionStatus(
                version=one.version,
                state=pb.VersionState.Name(one.state).removeprefix(STATE_PREFIX).lower(),
                reason=one.reason,
                digest=one.digest,
                alone=one.alone,
                engine=one.engine,
            )
            for one in message.versions
        ),
    )
