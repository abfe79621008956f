"""Checks that a package's files have the digests that its manifest states."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.protos.package_pb2 import File, Manifest


def digest_of(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def record(manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Replaces the files of `manifest` by the size and digest of these."""
    manifest.files.clear()
    for name, content in contents.items():
        manifest.files[name].CopyFrom(File(sha256=digest_of(content), bytes=len(content)))


def check_contents(manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Raises RefusedPackageError naming the first file whose digest differs from the manifest's."""
    for name in manifest.files:
        _check(manifest, name, digest_of(contents[name]))


def check_folder(manifest: Manifest, folder: Path) -> None:
    """Reads every file that the manifest names. Raises RefusedPackageError for a missing or changed one."""
    for name in manifest.files:
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RefusedPackageError(f"{name} cannot be read: {error.strerror}") from error
        _check(manifest, name, found)


def _check(manifest: Manifest, name: str, found: str) -> None:
    stated = manifest.files[name].sha256
    if found != stated:
        raise RefusedPackageError(f"{name} has digest {found[:12]}…, the manifest says {stated[:12]}…")
