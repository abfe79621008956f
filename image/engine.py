"""Builds and runs images without a Docker engine: with buildah, whose storage is a folder of the caller."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Debian packages of the two programs that the check needs.
PROGRAMS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
# vfs works on every file system and in every container; overlay is faster where the kernel supports it.
STORAGE_DRIVER = os.environ.get("STORAGE_DRIVER", "vfs")
Mount = tuple[Path, str, str]  # folder or file outside, path inside, "ro" or "rw"


class EngineError(Exception):
    """A program of the engine failed; the message ends with its output."""


def install_programs() -> None:
    """Installs missing programs with apt-get. Raises EngineError where that is impossible."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if os.geteuid() != 0:
        raise EngineError("building without a Docker engine needs root (chroot and bind mounts): run it with sudo")
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise EngineError(f"{', '.join(missing)} not found, and there is no apt-get to install them with")
    call(["apt-get", "update", "-qq"])
    call(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])


def call(command: Sequence[str], *, log: Path | None = None) -> str:
    """Runs a command and returns its standard output; all output is written to `log`.

    Raises EngineError with its last lines when it fails.
    """
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = done.stdout + done.stderr
    if log is not None:
        log.write_text(said)
    if done.returncode:
        tail = "\n".join(said.strip().splitlines()[-15:])
        raise EngineError(f"{' '.join(command[:6])} ... ended with {done.returncode}:\n{tail}")
    return done.stdout


class Engine:
    """One storage of images and containers, with chroot isolation, the host network and no image registry."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._storage = ["--storage-driver", STORAGE_DRIVER, "--root", f"{folder}/images", "--runroot", f"{folder}/run"]

    def _command(self, verb: str, *arguments: str) -> list[str]:
        return ["buildah", *self._storage, verb, *arguments]

    def has(self, image: str) -> bool:
        done = subprocess.run(self._command("inspect", "--type", "image", image), capture_output=True, check=False)
        return done.returncode == 0

    def build(self, image: str, context: Path, dockerfile: Path, mounts: Sequence[Mount], log: Path) -> None:
        """Builds `image`; `mounts` are available to the commands of the build and not part of the image."""
        command = self._command("bud", "--isolation", "chroot", "--pull-never", "--network", "host")
        # The OCI format has no health check.
        command += ["--format", "docker", "--tag", image, "--file", str(dockerfile), *_volumes(mounts), str(context)]
        call(command, log=log)

    def configuration(self, image: str) -> dict[str, Any]:
        """The image's Config in Docker's terms: User, Entrypoint, Cmd, Healthcheck, Labels, ..."""
        found = json.loads(call(self._command("inspect", "--type", "image", image)))
        configuration: dict[str, Any] = found["Docker"]["config"]
        return configuration

    def start_from(self, image: str) -> str:
        """Creates a container and returns its name."""
        return call(self._command("from", "--pull-never", image)).strip()

    def root_of(self, container: str) -> Path:
        """The folder of the container's files."""
        return Path(call(self._command("mount", container)).strip())

    def remove(self, container: str) -> None:
        call(self._command("rm", container))

    def run_command(
        self, container: str, command: Sequence[str], mounts: Sequence[Mount] = (), environment: Mapping[str, str] = {}
    ) -> list[str]:
        """The command line that runs `command` in the container as the image's user."""
        variables = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
        options = ["--isolation", "chroot", "--network", "host", *variables, *_volumes(mounts)]
        return self._command("run", *options, container, "--", *command)


def read_only_command(
    root: Path, user: str, command: Sequence[str], mounts: Sequence[Mount], environment: Mapping[str, str]
) -> list[str]:
    """The command line that runs `command` on `root` mounted read-only, which buildah's chroot isolation cannot do.

    It uses its own mount namespace, so no mounts remain, and the started process is replaced by the command.
    """
    script = ["set -eu", 'root="$1"; shift', 'mount --bind "$root" "$root"', 'mount -t proc -o ro proc "$root/proc"']
    script += ['mount --bind /dev "$root/dev"']
    for outside, inside, mode in mounts:
        script += [
            f'mount --bind "{outside}" "$root{inside}"',
            f'mount -o remount,bind,{mode} "$root{inside}"',
        ]
    script += ['mount -o remount,bind,ro "$root"', 'cd "$root"']
    variables = [f"{name}={value}" for name, value in environment.items()]
    script += [f'exec chroot --userspec={user} --groups="" "$root" env -i "$@"']
    shell = ["sh", "-c", "\n".join(script), "read-only", str(root), *variables, *command]
    return ["unshare", "--mount", "--propagation", "private", *shell]


def _volumes(mounts: Sequence[Mount]) -> list[str]:
    return [part for outside, inside, mode in mounts for part in ("--volume", f"{outside}:{inside}:{mode}")]
