"""A stand-in for the Dockerfile's base image, made of Debian packages, for machines that reach no image registry.

What is the same: Debian bookworm, glibc, CPython 3.11 named python3.11 on the PATH. What is not: the official image
builds its own CPython under /usr/local and brings pip.
"""

import ast
import configparser
import subprocess
import sys
import urllib.parse
from pathlib import Path

from image.engine import Engine, Mount, call

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "libpython3.11-stdlib", "python3.11-minimal", "python3.11-venv")
RECIPE = """\
FROM scratch
ADD base.tar /
RUN ["/bin/sh", "-c", "ln -s /usr/bin/python3.11 /usr/local/bin/python3.11 && ln -s python3.11 /usr/local/bin/python3"]
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
"""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def make_base(engine: Engine, folder: Path, image: str) -> bool:
    """Tags a stand-in as `image` unless the storage has one; False where it had. The archive is kept in `folder`."""
    if engine.has(image):
        return False
    archive = folder / "base.tar"
    if not archive.exists():
        partial = folder / "partial.tar"
        no_docs = ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
        command = ["mmdebstrap", "--variant=minbase", *no_docs, f"--include={','.join(PACKAGES)}", SUITE, str(partial)]
        call(command, log=folder / "base.log")
        partial.rename(archive)
    recipe = folder / "base.Dockerfile"
    recipe.write_text(RECIPE)
    engine.build(image, folder, recipe, (), folder / "base-build.log")
    return True


def pip_mounts(folder: Path) -> list[Mount]:
    """What pip needs to work in the build as it does on this machine: its settings, and every file they name.

    They are mounted while the build runs and never become part of the image or of the project.
    """
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = configparser.RawConfigParser()
    settings.add_section("global")
    mounts: list[Mount] = []
    for line in listing.splitlines():
        name, _, quoted = line.partition("=")
        value = " ".join(ast.literal_eval(quoted).split())
        # `global.cert` from a file, `:env:.cert` from a variable, which wins and is listed first.
        key = name.rpartition(".")[2]
        if not settings.has_option("global", key):
            settings.set("global", key, value.replace(" ", "\n    "))
        mounts += [(path, str(path), "ro") for path in _paths(value)]
    file = folder / "pip.conf"
    with file.open("w") as out:
        settings.write(out)
    mounts.append((file, "/etc/pip.conf", "ro"))
    if CERTIFICATES.exists():
        mounts.append((CERTIFICATES, str(CERTIFICATES), "ro"))
    return list(dict.fromkeys(mounts))


def _paths(value: str) -> list[Path]:
    """Existing files and folders that a setting names; of a package index its whole folder, files included."""
    found = []
    for word in value.split():
        location = urllib.parse.urlparse(word)
        if location.scheme not in ("", "file") or not location.path.startswith("/"):
            continue
        path = Path(urllib.parse.unquote(location.path))
        path = path.parent if path.name == "simple" else path
        if path.exists():
            found.append(path)
    return found
