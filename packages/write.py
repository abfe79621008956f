"""Writes a version's folder so that it appears complete or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.message import Message

from onnxpress.packages.errors import ConversionRefused
from onnxpress.packages.names import MODEL_NAME_RULE, VERSION_RULE, is_model_name, is_version

# Attempts to get the next free number while other processes save versions of the same model.
ATTEMPTS_MAX = 100


def check_name(name: str) -> None:
    """Raises ConversionRefused unless `name` is a valid model name."""
    if not is_model_name(name):
        raise ConversionRefused(f"{name!r} cannot be a model's name: use {MODEL_NAME_RULE}")


def write_version(
    repository: Path, model: str, version: int | None, files: Callable[[int], Mapping[str, bytes]]
) -> Path:
    """Writes `files(number)`, contents by name, to `<repository>/<model>/<number>/`, and returns that folder.

    `version` None: the highest number plus one. Raises ConversionRefused when the version exists or is not valid.
    """
    if version is not None and not is_version(str(version)):
        raise ConversionRefused(f"version {version} is not {VERSION_RULE}")
    folder = repository / model
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(ATTEMPTS_MAX):
        number = version or highest_version(folder) + 1
        target = folder / str(number)
        if not target.exists() and _write(target, files(number)):
            return target
        if version is not None:
            raise ConversionRefused(
                f"version {version} of {model} exists already in {repository}, and versions never "
                "change: choose another number, or none for the next free one"
            )
    raise ConversionRefused(f"no free version number for {model}: too many others write to {folder}")


def _write(target: Path, files: Mapping[str, bytes]) -> bool:
    """Writes the folder; False when another process took the number first."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    temporary.mkdir()
    try:
        for name, content in files.items():
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


def highest_version(folder: Path) -> int:
    """The highest number among a model's version folders, 0 when there is none."""
    return max((int(entry.name) for entry in folder.iterdir() if is_version(entry.name)), default=0)


def as_json(message: Message) -> bytes:
    """A message as JSON with the proto's field names and sorted keys, so that equal messages are equal bytes."""
    return (json_format.MessageToJson(message, preserving_proto_field_name=True, sort_keys=True) + "\n").encode()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
