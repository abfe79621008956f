"""The durable desired state of a model: deployment.json, replaced atomically, compare-and-swap on its epoch."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from google.protobuf import json_format

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.protos.deployment_pb2 import Deployment
from onnxpress.server.errors import EpochConflictError, StateWriteError, UnknownModelError
from onnxpress.server.versions.rollback_history import History
from onnxpress.server.versions.rollout import Rollout
from onnxpress.server.versions.rollout_message import from_message, to_message

DEPLOYMENT_FILE = "deployment.json"
# The number of change ids kept in deployment.json, from which the outcome of an interrupted change is derived.
CHANGES_MAX = 16


@dataclass(frozen=True)
class Desired:
    """The version that should be live, since when, and by whom; epoch 0: there is no deployment.json."""

    model: str
    version: int  # 0: nothing
    epoch: int
    history: History = ()  # see rollback_history.py
    reason: str = ""
    actor: str = ""
    updated_at: datetime | None = None
    changes: tuple[str, ...] = ()  # ids of the newest changes, oldest first; the last one made this epoch
    rollout: Rollout | None = None  # the newest one: active, or how it ended

    @property
    def previous(self) -> int:
        """The version that a rollback makes live; 0: none."""
        return self.history[-1] if self.history else 0

    @property
    def candidate(self) -> int:
        """The version that a rollout tries beside the live one; 0: none."""
        return self.rollout.candidate if self.rollout is not None and self.rollout.active else 0

    def after(self, change: str, target: "Target", reason: str, actor: str) -> "Desired":
        """The next epoch, made by `change`."""
        changes = (*self.changes, change)[-CHANGES_MAX:]
        version, history, rollout = target
        return Desired(self.model, version, self.epoch + 1, history, reason, actor, datetime.now(UTC), changes, rollout)


class Target(NamedTuple):
    """What a change makes of a deployment."""

    version: int
    history: History
    rollout: Rollout | None = None

    @property
    def incoming(self) -> int:
        """The candidate of an active rollout, which must be loaded as well; 0: none."""
        return self.rollout.candidate if self.rollout is not None and self.rollout.active else 0


def undeployed(model: str, versions: list[int]) -> Desired:
    """Without a deployment the highest version is live, as in Triton."""
    return Desired(model, versions[-1] if versions else 0, 0)


class ModelFiles(Protocol):
    """The location of a model's files that belong to no package."""

    def model_file(self, model: str, name: str) -> Path | None: ...

    def model_files(self, name: str) -> dict[str, os.stat_result]: ...


class DesiredStore:
    """Reads and replaces deployments; caches none. May be called from any thread.

    `_seen`, under its lock, is what `changed` found last: model -> identity of its file.
    """

    def __init__(self, files: ModelFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, int, int]] = {}

    def read(self, model: str) -> Desired | None:
        """None before the first deploy. Raises RefusedPackageError for a file that is no deployment."""
        path = self._files.model_file(model, DEPLOYMENT_FILE)
        return _read(path, model) if path is not None else None

    def compare_and_swap(self, desired: Desired) -> None:
        """Makes `desired` its model's desired state, durably.

        Raises EpochConflictError unless the epoch on disk is exactly one less, and StateWriteError if writing fails.
        The folder's lock keeps replicas that share a repository from overwriting each other.
        """
        path = self._files.model_file(desired.model, DEPLOYMENT_FILE)
        if path is None:
            raise UnknownModelError(f"{desired.model!r} cannot be a model's name")
        try:
            with _locked(path.parent) as directory:
                stored = _read(path, desired.model)
                epoch = stored.epoch if stored else 0
                if desired.epoch != epoch + 1:
                    raise EpochConflictError(
                        f"model {desired.model!r} is at epoch {epoch}, expected {desired.epoch - 1}"
                    )
                text = json_format.MessageToJson(_to_message(desired), preserving_proto_field_name=True)
                replace_file(path, text.encode())
                os.fsync(directory)
        except OSError as error:
            raise StateWriteError(
                f"{DEPLOYMENT_FILE} of {desired.model!r} cannot be written: {error.strerror}"
            ) from error

    def changed(self) -> list[str]:
        """Models whose deployment file was replaced since the last call; at the first call all that have one.

        One stat per model: files are never changed in place, so a new inode, time or size means a new deployment.
        """
        found = {
            model: (status.st_ino, status.st_mtime_ns, status.st_size)
            for model, status in self._files.model_files(DEPLOYMENT_FILE).items()
        }
        with self._lock:
            changed = [model for model, identity in found.items() if self._seen.get(model) != identity]
            self._seen = found
        return changed


def _read(path: Path, model: str) -> Desired | None:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedPackageError(f"{DEPLOYMENT_FILE} cannot be read: {error.strerror}") from error
    try:
        message = json_format.Parse(raw, Deployment(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise RefusedPackageError(f"{DEPLOYMENT_FILE} is not a deployment: {error}") from error
    if not message.epoch or not message.live_version:
        raise RefusedPackageError(f"{DEPLOYMENT_FILE} is not a deployment: it needs an epoch and a live_version")
    # Files of 0.1.0 before histories were kept have the newest entry only.
    previous = (message.previous_version,) if message.previous_version else ()
    return Desired(
        model,
        message.live_version,
        message.epoch,
        tuple(message.history) or previous,
        message.reason,
        message.actor,
        message.updated_at.ToDatetime(UTC) if message.HasField("updated_at") else None,
        tuple(message.changes),
        from_message(message.rollout) if message.HasField("rollout") else None,
    )


def _to_message(desired: Desired) -> Deployment:
    message = Deployment(
        model=desired.model,
        epoch=desired.epoch,
        live_version=desired.version,
        previous_version=desired.previous,
        history=desired.history,
        reason=desired.reason,
        actor=desired.actor,
        changes=desired.changes,
    )
    if desired.updated_at is not None:
        message.updated_at.FromDatetime(desired.updated_at)
    if desired.rollout is not None:
        message.rollout.CopyFrom(to_message(desired.rollout))
    return message


def replace_file(path: Path, data: bytes) -> None:
    """Writes `data` to a temporary name beside `path`, fsyncs it and renames it over `path`.

    The temporary name is fixed, so that the next write overwrites what a crash left; the caller holds the folder's
    lock.
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
