"""The durable desired state of a model: deployment.json, replaced atomically, compare-and-swap on its epoch."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.protos.deployment_pb2 import Deployment
from onnxpress.server.errors import (
    EpochConflictError,
    StateWriteError,
)
from onnxpress.server.versions.rollback_history import History

DEPLOYMENT_FILE = "deployment.json"


def read_deployment(folder: Path) -> Deployment | None:
    """The deployment of the model in `folder`, or None before the first deploy."""
    path = folder / DEPLOYMENT_FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedPackageError(f"{DEPLOYMENT_FILE} cannot be read: {error.strerror}") from error
    try:
        deployment = json_format.Parse(raw, Deployment(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise RefusedPackageError(f"{DEPLOYMENT_FILE} is not a deployment: {error}") from error
    if not deployment.epoch or not deployment.live_version:
        raise RefusedPackageError(f"{DEPLOYMENT_FILE} is not a deployment: it needs an epoch and a live_version")
    return deployment


def write_deployment(folder: Path, deployment: Deployment) -> None:
    """Makes `deployment` the model's desired state; when it returns, a crash cannot undo it.

    Raises EpochConflictError unless the epoch on disk is exactly one less, StateWriteError when the disk refuses.
    The folder's lock keeps replicas that share a repository from overwriting each other.
    """
    try:
        with _locked(folder) as directory:
            stored = read_deployment(folder)
            epoch = stored.epoch if stored else 0
            if deployment.epoch != epoch + 1:
                raise EpochConflictError(
                    f"model {deployment.model!r} is at epoch {epoch}, expected {deployment.epoch - 1}"
                )
            replace_file(
                folder / DEPLOYMENT_FILE,
                json_format.MessageToJson(deployment, preserving_proto_field_name=True).encode(),
            )
            os.fsync(directory)
    except OSError as error:
        raise StateWriteError(
            f"{DEPLOYMENT_FILE} of {deployment.model!r} cannot be written: {error.strerror}"
        ) from error


def replace_file(path: Path, data: bytes) -> None:
    """Writes `data` to a temporary name beside `path`, fsyncs it and renames it over `path`.

    The name is always the same, so that what a crash leaves behind is overwritten by the next write; the caller
    holds the folder's lock.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(directory)


@dataclass(frozen=True)
class Desired:
    """What should be live, whoever said so."""

    version: int
    epoch: int
    history: History = ()  # see history.py

    @property
    def previous(self) -> int:
        """What a rollback makes live; 0: nothing."""
        return self.history[-1] if self.history else 0


def desired_state(deployment: Deployment | None, versions: list[int]) -> Desired | None:
    """The deployment's word, or the highest version where there is none, as in Triton. None: nothing to serve."""
    if deployment is not None:
        # Files of 0.1.0 before histories were kept have the newest entry only.
        previous = (deployment.previous_version,) if deployment.previous_version else ()
        return Desired(deployment.live_version, deployment.epoch, tuple(deployment.history) or previous)
    return Desired(versions[-1], 0) if versions else None
