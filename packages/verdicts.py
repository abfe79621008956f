"""The verdict of `onnxpress gate` on a version, kept beside its package: `<model>/<version>.gate.json`.

A package never changes, so the verdict is no part of it. Only the newest verdict on a version is kept.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

SCHEMA = "onnxpress.comparison/v1"
SUFFIX = ".gate.json"
BYTES_MAX = 4 * 1024 * 1024


class GateVerdict(StrEnum):
    """UNREADABLE: there is a file, and it is damaged or of a newer onnxpress."""

    PASSED = "passed"
    FAILED = "failed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class StoredVerdict:
    """What is shown of a verdict; the whole document is in the file.

    champion: the version that it was compared with; 0 if unreadable. gain: of `metric` on the holdout, positive where
    the challenger is better; low, high: the ends of its interval. digest: SHA-256 of the model.onnx that was judged.
    reasons: why it failed, or why it cannot be read.
    """

    verdict: GateVerdict
    reasons: tuple[str, ...] = ()
    champion: int = 0
    metric: str = ""
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0
    digest: str = ""
    finished_at: datetime | None = None


def file_name(version: int) -> str:
    """The name of the file in the model's folder."""
    return f"{version}{SUFFIX}"


def write_verdict(folder: Path, version: int, document: Mapping[str, Any]) -> Path:
    """Replaces the verdict on a version of the model in `folder`; a reader finds the old one or the new one.

    Returns the file's path. Raises OSError.
    """
    target = folder / file_name(version)
    temporary = folder / f".{target.name}.{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return target


def read_verdict(path: Path) -> StoredVerdict | None:
    """The verdict in a file; None where there is none. A damaged file is a verdict that says so, never an error."""
    try:
        if path.stat().st_size > BYTES_MAX:
            return _unreadable(path, f"more than {BYTES_MAX} bytes")
        document = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            return _unreadable(path, f"schema {document['schema']!r}, this onnxpress reads {SCHEMA}")
        return _read(document)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _unreadable(path, error.strerror or type(error).__name__)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return _unreadable(path, f"{type(error).__name__}: {error}")


def _read(document: Mapping[str, Any]) -> StoredVerdict:
    verdict = GateVerdict(document["verdict"])
    champion = int(document["champion"])
    if not 0 < champion < 2**63:
        raise ValueError(f"champion is {champion}")
    return StoredVerdict(
        verdict,
        tuple(str(reason) for reason in document["reasons"]),
        champion,
        str(document["metric"]),
        float(document["gain"]),
        float(document["gain_low"]),
        float(document["gain_high"]),
        str(document["sha256"]["challenger"]),
        datetime.fromisoformat(document["finished_at"]),
    )


def _unreadable(path: Path, why: str) -> StoredVerdict:
    return StoredVerdict(GateVerdict.UNREADABLE, (f"{path.name} cannot be read: {why}",))
