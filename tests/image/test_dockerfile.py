import json
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
Instruction = tuple[str, str]


@cache
def stages() -> tuple[tuple[Instruction, ...], ...]:
    """The instructions of each stage: what is written, with continued lines joined."""
    with (ROOT / "Dockerfile").open("rb") as file:
        parsed = DockerfileParser(fileobj=file, env_replace=False).structure
    found: list[list[Instruction]] = []
    for line in parsed:
        if line["instruction"] == "FROM":
            found.append([])
        if found and line["instruction"] != "COMMENT":
            found[-1].append((line["instruction"], line["value"]))
    return tuple(tuple(stage) for stage in found)


def values(instruction: str) -> list[str]:
    """The values of `instruction` in the last stage, which becomes the image."""
    return [value for name, value in stages()[-1] if name == instruction]


def test_one_stage_builds_and_another_ships():
    """Compilers, pip and sources stay in the first stage."""
    first, last = stages()
    assert first[0] == ("FROM", "${BUILD_BASE} AS build")
    assert last[0] == ("FROM", "${BASE}")
    assert "RUN" not in dict(last), "what runs in the last stage leaves files in the image that nobody asked for"
    copied = [value for name, value in last if name == "COPY"]
    assert all(value.startswith("--from=build ") for value in copied)
    assert "ADD" not in dict(first) | dict(last)


def test_the_base_has_a_name_and_a_version():
    """The base image is pinned to a version, since `latest` changes; the build's is the same one with a compiler."""
    arguments = dict(re.findall(r"^ARG (\w*BASE)=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    name, _, tag = arguments["BASE"].rpartition(":")
    assert name.endswith("library/python")
    assert tag.startswith("3.11-slim-")
    assert arguments["BUILD_BASE"] == arguments["BASE"].replace("-slim", "")


def test_starts_without_a_shell():
    """The entrypoint is not a shell, which would not pass SIGTERM on."""
    assert json.loads(values("ENTRYPOINT")[0]) == ["onnxpress"]
    assert json.loads(values("CMD")[0]) == ["serve", "--repository", "/models"]
    assert values("STOPSIGNAL") == ["SIGTERM"]


def test_user_is_a_number_and_not_root():
    """Kubernetes' runAsNonRoot refuses an image whose user is a name."""
    user, group = values("USER")[0].split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_health_check_asks_readyz_with_what_the_image_holds():
    """The health check runs the image's Python on the configured port, and ignores proxies."""
    options, command = values("HEALTHCHECK")[0].split("CMD", 1)
    program, flag, script = json.loads(command)
    assert (program, flag) == ("python", "-c")
    assert "/readyz" in script
    assert "ONNXPRESS_HTTP_PORT" in script
    assert "urllib" not in script, "urllib would go through http_proxy"
    compile(script, "HEALTHCHECK", "exec")
    probe, engine = (float(re.search(p, values("HEALTHCHECK")[0])[1]) for p in (r"timeout=(\d)\)", r"--timeout=(\d+)s"))
    assert probe < engine, "the probe must end before the engine ends it"
    assert "--start-period=" in options


def test_installs_locked_hashed_wheels_only():
    """Nothing is resolved, compiled or fetched unchecked while the image is built."""
    commands = [part for name, value in stages()[0] if name == "RUN" for part in re.split(r"&&", value)]
    installs = [command for command in commands if re.search(r"pip\b.*\b(install|wheel)\b", command)]
    assert len(installs) == 4
    for command in installs:
        locked = "--require-hashes" in command and "--only-binary :all:" in command and ".lock" in command
        own = "--no-index" in command and "--no-deps" in command
        assert locked or own, command
    assert any("pip" in command and command.strip().endswith("check") for command in commands)


def test_admin_port_is_not_exposed():
    """The admin port is loopback of the container unless a token guards it."""
    assert values("EXPOSE") == ["8001 8002"]


def test_label_names_the_version_of_the_project():
    """The image's label is the version that pyproject.toml states."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', values("LABEL")[0]))
    assert labels["version"] == PYPROJECT["project"]["version"]
    assert labels["licenses"] == PYPROJECT["project"]["license"]
    assert {"title", "description", "revision"} <= set(labels)


@pytest.mark.parametrize("room", ["converters", "loadtests", "tests", "examples", ".git", ".venv"])
def test_builder_is_sent_nothing_but_what_ships(room: str):
    """Everything is ignored but what the Dockerfile copies; the converters hold the pickle loader."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert room not in {path.split("/")[0] for path in allowed}
    copied = {
        path
        for name, value in stages()[0] if name == "COPY"
        for path in value.split()[:-1]
    }  # fmt: skip
    assert copied == allowed


def test_files_that_are_not_python_reach_the_wheel():
    """Every file beside the modules that is not Python is package data, so that the image has it."""
    data = PYPROJECT["tool"]["setuptools"].get("package-data", {})
    for room in ("server", "protos"):
        for path in (ROOT / room).rglob("*"):
            if path.is_dir() or path.suffix == ".py" or "__pycache__" in path.parts:
                continue
            package = ".".join(("onnxpress", *path.parent.relative_to(ROOT).parts))
            assert any(path.match(pattern) for pattern in data.get(package, [])), f"{path.relative_to(ROOT)}"
