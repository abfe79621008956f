import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from image.contents import FORBIDDEN

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "build.lock")
# Distributions whose name is not that of their module.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def locked(name: str) -> dict[str, Version]:
    pins = re.findall(r"^([a-z0-9-]+)==(\S+) \\$", (ROOT / "image" / name).read_text(), re.MULTILINE)
    return {project: Version(version) for project, version in pins}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_nothing_else_is_in_the_file(lock: str):
    """Names, versions and SHA-256 sums: no address, no option, no comment that tells where it was made."""
    lines = (ROOT / "image" / lock).read_text().splitlines()
    pinned, hashes = 0, 0
    for line in lines:
        if re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]* \\", line):
            assert pinned == 0 or hashes, f"no hash before {line}"
            pinned, hashes = pinned + 1, 0
        else:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
            hashes += 1
    assert pinned
    assert hashes


def test_every_serving_dependency_is_locked_within_its_bounds():
    """`make lock` after a change of pyproject's dependencies; the image has what the tests ran on."""
    pins = locked("requirements.lock")
    for line in PYPROJECT["project"]["dependencies"]:
        requirement = Requirement(line)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: make lock"
        assert requirement.specifier.contains(version), f"{requirement.name} {version} is locked: make lock"


def test_the_build_tools_are_locked_within_their_bounds():
    """What builds the image is pinned, inside the bounds that the project states."""
    (requirement,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    assert requirement.specifier.contains(locked("build.lock")[requirement.name])


@pytest.mark.parametrize("module", FORBIDDEN)
def test_what_trains_converts_or_unpickles_is_not_locked(module: str):
    """The image's lock holds nothing that trains, converts or unpickles."""
    assert DISTRIBUTIONS.get(module, module) not in locked("requirements.lock")


def test_the_server_imports_nothing_that_is_not_locked():
    """Every foreign module that server/ and protos/ import belongs to a locked distribution."""
    homes = {
        "google": "protobuf", "grpc": "grpcio", "grpc_health": "grpcio-health-checking",
        "grpc_reflection": "grpcio-reflection", "prometheus_client": "prometheus-client",
        "pygrpc_native": "pygrpc-native",
    }  # fmt: skip
    pins = locked("requirements.lock")
    own = {"onnxpress", *sys.stdlib_module_names}
    for path in (*(ROOT / "server").rglob("*.py"), *(ROOT / "protos").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for module in {name.split(".")[0] for name in names} - own:
                assert homes.get(module, module) in pins, f"{path.relative_to(ROOT)} imports {module}"
