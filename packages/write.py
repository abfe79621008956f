"""A package: a version's folder on disk, written so that it is there whole or not at all."""

import hashlib
import io
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from onnxpress.packages.errors import ConversionRefused
from onnxpress.packages.names import MODEL_NAME_RULE, VERSION_RULE, is_model_name, is_version
from onnxpress.protos.package_pb2 import File, Manifest, ParityReport, Profile

Tensors = dict[str, NDArray[Any]]
# Saves that race for the next free number; more in one moment than any pipeline starts.
ATTEMPTS_MAX = 100


def check_name(name: str) -> None:
    """Raises ConversionRefused unless `name` can be a folder's name and a model's name everywhere."""
    if not is_model_name(name):
        raise ConversionRefused(f"{name!r} cannot be a model's name: use {MODEL_NAME_RULE}")


@dataclass(frozen=True)
class Package:
    """A compiled model with the proof that it answers as the original does.

    `golden` holds stored rows and the original's answers: `inputs/<name>` in the client's datatype (BYTES as numpy
    text), `outputs/<name>` and `tolerance/<name>` in float64, labels as int64 or text.
    """

    onnx: bytes
    manifest: Manifest
    profile: Profile
    parity: ParityReport
    golden: Tensors

    def save(self, repository: str | os.PathLike[str], version: int | None = None) -> Path:
        """Writes `<repository>/<name>/<version>/` and returns its path; `version` defaults to the highest plus one.

        Raises ConversionRefused when the version exists: versions never change.
        """
        if version is not None and not is_version(str(version)):
            raise ConversionRefused(f"version {version} is not {VERSION_RULE}")
        folder = Path(repository) / self.manifest.name
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(ATTEMPTS_MAX):
            number = version or highest_version(folder) + 1
            target = folder / str(number)
            if not target.exists() and self._write(target, number):
                return target
            if version is not None:
                raise ConversionRefused(
                    f"version {version} of {self.manifest.name} exists already in {repository}, and versions never "
                    "change: choose another number, or none for the next free one"
                )
        raise ConversionRefused(f"no free version number for {self.manifest.name}: too many others write to {folder}")

    def _write(self, target: Path, number: int) -> bool:
        """Whether the folder is there now; False when another save took the number first."""
        temporary = target.with_name(f".{number}.{secrets.token_hex(8)}.tmp")
        temporary.mkdir()
        try:
            for name, content in self._files(number).items():
                with (temporary / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            _sync_folder(temporary)
            try:
                temporary.rename(target)
            except OSError:
                if target.exists():
                    return False
                raise
            _sync_folder(target.parent)
            return True
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _files(self, number: int) -> dict[str, bytes]:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.golden)
        files = {
            "model.onnx": self.onnx,
            "profile.json": as_json(self.profile),
            "golden.npz": buffer.getvalue(),
            "parity.json": as_json(self.parity),
        }
        manifest = Manifest()
        manifest.CopyFrom(self.manifest)
        manifest.version = number
        for name, content in files.items():
            digest = hashlib.sha256(content).hexdigest()
            manifest.files[name].CopyFrom(File(sha256=digest, bytes=len(content)))
        return {**files, "manifest.json": as_json(manifest)}


def highest_version(folder: Path) -> int:
    """The highest number among a model's version folders, 0 when there is none."""
    return max((int(entry.name) for entry in folder.iterdir() if is_version(entry.name)), default=0)


def as_json(message: Message) -> bytes:
    """A contract as it lies on disk: field names as in the proto, keys in order: equal content is equal bytes."""
    return (json_format.MessageToJson(message, preserving_proto_field_name=True, sort_keys=True) + "\n").encode()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
