"""Checks of the image's configuration and contents."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from image.engine import Engine, call

SITE = Path("opt/onnxpress/lib/python3.11/site-packages")
OURS = SITE / "onnxpress"
# Packages that train, convert, test, install, or run code from a model file.
FORBIDDEN = (
    "cloudpickle", "onnxpress.converters", "dill", "joblib", "lightgbm", "onnxpress.loadtests", "locust", "onnx",
    "onnxmltools", "pandas", "pip", "pytest", "scipy", "setuptools", "skl2onnx", "sklearn", "skops", "xgboost",
)  # fmt: skip
NEEDED = (
    "grpc",
    "numpy",
    "onnxpress.packages.forest._kernel",
    "onnxpress.protos",
    "onnxpress.server",
    "onnxruntime",
    "pygrpc_native",
    "uvloop",
)
# Run by the image's own Python: prints which of the names on its command line can be imported.
PROBE = """
import importlib.util, json, sys
print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name) is not None]))
"""
# Run on the read-only root: fails when anything but the state folder and shared memory can be written.
NOTHING_WRITABLE = """
import sys, tempfile
for folder in ("/", "/tmp", "/var/tmp", "/run", "/opt/onnxpress", "/models"):
    try:
        tempfile.TemporaryFile(dir=folder)
    except OSError:
        continue
    sys.exit(folder + " is writable")
tempfile.TemporaryFile(dir="/state")
"""
# Names of functions that run code from a file.
PICKLE = (b"import pickle", b"from pickle", b"pickle.load", b"allow_pickle=True", b"marshal.load", b"shelve")
# Writable folders: mount points, and the usual folders for temporary files.
OPEN_FOLDERS = {"dev", "models", "proc", "run/lock", "state", "sys", "tmp", "var/tmp"}


def check_configuration(configuration: dict[str, Any]) -> None:
    """Raises AssertionError naming the first setting that differs from what users of the image rely on."""
    user, _, group = configuration["User"].partition(":")
    numbers = user.isdigit() and group.isdigit() and "0" not in (user, group)
    assert numbers, f"user and group must be numbers other than 0, got {configuration['User']!r}"
    assert configuration["Entrypoint"] == ["onnxpress"], f"entrypoint {configuration['Entrypoint']}"
    assert configuration["StopSignal"] == "SIGTERM", f"stop signal {configuration['StopSignal']}"
    assert configuration["Healthcheck"]["Test"][0] == "CMD", "the health check must need no shell"
    assert set(configuration["ExposedPorts"]) == {"8001/tcp", "8002/tcp"}, "the admin port is loopback only"
    leaked = [variable for variable in configuration["Env"] if "://" in variable or variable.startswith("PIP_")]
    assert not leaked, f"settings of the building machine are in the image: {leaked}"


def check_contents(engine: Engine, container: str, root: Path, user: int) -> str:
    """A summary of what was checked. Raises AssertionError naming what must not be there, or is missing."""
    said = call(engine.run_command(container, ["python", "-c", PROBE, *FORBIDDEN, *NEEDED]))
    found = set(json.loads(said))
    assert found.isdisjoint(FORBIDDEN), f"the image must not hold {', '.join(sorted(found & set(FORBIDDEN)))}"
    assert found == set(NEEDED), f"the image lacks {', '.join(sorted(set(NEEDED) - found))}"
    ours = list((root / OURS).rglob("*.py"))
    assert ours, "the image holds no server"
    for path in ours:
        loaders = [loader.decode() for loader in PICKLE if loader in path.read_bytes()]
        assert not loaders, f"{path.relative_to(root / SITE)} holds a pickle loader: {loaders[0]}"
    assert not (root / "etc/pip.conf").exists(), "pip's settings of the building machine are in the image"
    writable = _writable(root, user)
    assert not writable, f"the image's user may write {writable[0]} and {len(writable) - 1} more"
    installed = len(list((root / SITE).glob("*.dist-info")))
    return f"{installed} distributions, none of the {len(FORBIDDEN)} forbidden, no pickle loader, no writable file"


def _writable(root: Path, user: int) -> list[str]:
    """The files that `user` could change as owner or by permissions of all, without links and open folders."""
    found = []
    for folder, folders, files in os.walk(root):
        inside = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if str(inside / name) not in OPEN_FOLDERS]
        for name in (*folders, *files):
            status = (Path(folder) / name).lstat()
            if stat.S_ISLNK(status.st_mode):
                continue
            if status.st_uid == user or status.st_mode & stat.S_IWOTH:
                found.append(str(inside / name))
    return sorted(found)
