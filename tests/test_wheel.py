"""What an installation adds to somebody's environment, and what their own files change about it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from onnxpress.packages.forest.engine import Forest
from tests.server_process import PATIENCE_S, ROOT

COMPILES = shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists()
compiles = pytest.mark.skipif(not COMPILES, reason="there is no C compiler or no Python.h")
KERNEL = "onnxpress/packages/forest/_kernel.abi3.so"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source"), dict(os.environ))


def built(folder: Path, source: Path, environment: dict[str, str]) -> Path:
    """The wheel of this tree, built in `folder` from a copy in `source`."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("onnxpress", *(link.name for link in (ROOT / "onnxpress").iterdir() if link.is_symlink())):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True, timeout=PATIENCE_S, env=environment)
    return next(folder.glob("*.whl"))


def test_the_wheel_adds_one_top_level_name(wheel: Path) -> None:
    """`server` or `converters` as a top-level module would shadow, or be shadowed by, somebody's own."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"onnxpress"}


def test_the_wheel_holds_what_a_client_needs(wheel: Path) -> None:
    """The published service config, and the marker that lets type checkers read our annotations."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"onnxpress/py.typed", "onnxpress/client/sync.py", "onnxpress/protos/client-service-config.json"} <= names


@compiles
def test_this_environment_has_the_kernel() -> None:
    """Tests of the kernel are skipped without it, so here it must not be missing where it can be built."""
    assert Forest is not None


@compiles
def test_the_wheel_holds_the_kernel(wheel: Path) -> None:
    """Built for the limited API of CPython 3.11, so one wheel serves all later versions too."""
    assert "-cp311-abi3-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert KERNEL in archive.namelist()


def test_no_compiler_is_needed(tmp_path: Path) -> None:
    """Where compiling fails, the same wheel is built without the kernel, and ONNX Runtime runs all models."""
    (tmp_path / "source").mkdir()
    wheel = built(tmp_path / "wheel", tmp_path / "source", os.environ | {"CC": "/bin/false"})
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "onnxpress/packages/forest/engine.py" in names
    assert KERNEL not in names


def test_a_working_directory_with_rooms_of_its_own_changes_nothing(tmp_path: Path, wheel: Path) -> None:
    """Modules named like our rooms in the folder of a notebook do not shadow the installed ones."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / "server.py").write_text("raise ImportError('not this one')")
    for room in ("converters", "protos"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise ImportError('not this one')")
    script = (
        "import sys, onnxpress; from onnxpress.__main__ import main; from onnxpress.server import wiring; "
        "print(onnxpress.convert.__module__, wiring.__file__, sorted(sys.modules.keys() & {'server', 'protos'}))"
    )
    path = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=path, capture_output=True, text=True, check=True
    ).stdout
    assert said == f"onnxpress.converters.convert {site}/onnxpress/server/wiring.py []\n"
