"""Stand-ins for the Dockerfile's base images, made of Debian packages, for machines without an image registry.

Like the official images they are Debian bookworm with glibc and CPython 3.11, named python3.11 on the PATH. Unlike them
they have Debian's CPython instead of one under /usr/local, and no pip.
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
# What the base of the build stage has besides.
COMPILER = ("gcc", "libc6-dev", "libpython3.11-dev")
RECIPE = """\
FROM scratch
ADD {archive} /
RUN ["/bin/sh", "-c", "ln -s /usr/bin/python3.11 /usr/local/bin/python3.11 && ln -s python3.11 /usr/local/bin/python3"]
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
"""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def make_base(engine: Engine, folder: Path, image: str) -> bool:
    """Tags a stand-in as `image`, with a compiler unless it is a slim one; False if the storage has one already.

    The archive is kept in `folder`.
    """
    if engine.has(image):
        return False
    kind, packages = ("base", PACKAGES) if "slim" in image else ("build-base", (*PACKAGES, *COMPILER))
    archive = folder / f"{kind}.tar"
    if not archive.exists():
        partial = folder / "partial.tar"
        no_docs = ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
        command = ["mmdebstrap", "--variant=minbase", *no_docs, f"--include={','.join(packages)}", SUITE, str(partial)]
        call(command, log=folder / f"{kind}.log")
        partial.rename(archive)
    recipe = folder / f"{kind}.Dockerfile"
    recipe.write_text(RECIPE.replace("{archive}", archive.name))
    engine.build(image, folder, recipe, (), folder / f"{kind}-build.log")
    return True


def pip_mounts(folder: Path) -> list[Mount]:
    """The mounts with which pip works in the build as on this machine: its settings and every file they name.

    They are mounted during the build and are not part of the image.
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
        # `global.cert` is from a file; `:env:.cert` is from a variable, which has precedence and is listed first.
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
    """Existing files and folders that a setting names; of a package index the folder above `simple`."""
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
