"""README.md is run: its commands work as they stand there, and print what it says they print."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.server_process import ServerProcess

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
PATIENCE_S = 120.0
REFUSED = 3
# The environment that pytest runs in is the activated one.
ACTIVATE = "source .venv/bin/activate"
# What they print holds no figures of this machine, so every character counts.
EXACT = ("deploy", "rollback", "rollout")
ADMIN = ("deploy", "rollback", "rollout", "status", "history")
# What is tested here is the page, not the machine: too short to be believed by its own standards, and held to less.
QUICK = shlex.split(
    "--duration 3 --warmup 1 --samples-min 300 --p50-ms 5000 --p95-ms 5000 --p99-ms 5000 "
    "--throughput-share 0.5 --cpu-max 1 --lag-p99-ms 5000"
)


@dataclass(frozen=True)
class Block:
    language: str
    lines: list[str]

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Each `$ ` line with the output that follows it."""
        command, output = "", []
        for line in [*self.lines, "$ "]:
            if line.startswith("$ "):
                if command:
                    yield command, output
                command, output = line[2:], []
            else:
                output.append(line)


def blocks() -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [Block(language, text.splitlines()) for language, text in found]


def shape(line: str) -> str:
    """A line with figures, digests, people and the width of its gaps left open."""
    for pattern in (r"\b[0-9a-f]{12,64}\b", r"\S+@\S+", r"\d[\d,.:e+-]*"):
        line = re.sub(pattern, "#", line)
    return " ".join(line.split())


class Walk:
    """One reader who does everything in order, in a folder of their own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """`stack` ends the server that README starts."""
        self.folder = folder
        self.stack = stack
        self.server: ServerProcess | None = None
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(self, command: str, expected: list[str]) -> None:
        words = shlex.split(command)
        assert words[0] in ("onnxpress", "python"), f"what is {command!r}?"
        if words[:2] == ["onnxpress", "serve"]:
            repository = self.folder / words[2]
            server = ServerProcess(repository, command=(str(BIN / "onnxpress"), "serve"))
            self.server = self.stack.enter_context(server).ready()
            # The effective settings are this test's own, and README shows their beginning only.
            lines = [[line for line in told if ": settings: " not in line] for told in (expected, self.server.lines)]
            assert [len(expected), len(self.server.lines)] == [len(told) + 1 for told in lines]
            self.compare(command, *lines)
            return
        refused = expected[:1] and expected[0].startswith(f"onnxpress {words[1]}:")
        self.compare(command, expected, self.output(self.redirected(words), REFUSED if refused else 0))

    def redirected(self, words: list[str]) -> list[str]:
        """The same command for the ports that this test's server has."""
        if words[0] != "onnxpress" or self.server is None:
            return words
        if words[1] in ADMIN:
            return [*words, "--server", self.server.admin]
        quick = QUICK if words[1] == "loadtest" else []
        return [self.server.grpc if word == "127.0.0.1:8001" else word for word in words] + quick

    def output(self, words: list[str], code: int) -> list[str]:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, f"{words}\n{done.stdout}{done.stderr}"
        return [*done.stdout.splitlines(), *done.stderr.splitlines()]

    def script(self, lines: list[str], expected: list[str]) -> None:
        assert self.server is not None
        code = "\n".join(lines).replace("127.0.0.1:8001", self.server.grpc)
        self.compare("the Python example", expected, self.output([sys.executable, "-c", code], 0))

    def compare(self, command: str, expected: list[str], printed: list[str]) -> None:
        """README may leave lines out, not say others."""
        exact = command.split()[1] in EXACT
        seen = printed if exact else [shape(line) for line in printed]
        for line in expected:
            assert (line if exact else shape(line)) in seen, f"{command}\nnever prints {line!r}:\n" + "\n".join(printed)


def test_the_whole_way_works_as_written(tmp_path: Path) -> None:
    """Every console and Python block, in order, in an empty folder, prints what README says."""
    found, ran = blocks(), []
    with ExitStack() as stack:
        walk = Walk(tmp_path, stack)
        for block, following in zip(found, [*found[1:], Block("", [])], strict=True):
            if block.language == "console":
                for command, expected in block.commands():
                    if command != ACTIVATE:
                        walk.run(command, expected)
                        ran.append(command.split()[1])
            elif block.language == "python":
                assert following.language == "text"
                walk.script(block.lines, following.lines)
        assert walk.server is not None
        assert walk.server.stop() == 0
    commands = {"convert", "verify", "serve", "deploy", "rollback", "rollout", "status", "history", "loadtest"}
    assert commands <= set(ran)


@pytest.mark.parametrize("line", [line for block in blocks() if block.language == "sh" for line in block.lines])
def test_make_targets_exist(line: str) -> None:
    """README names no target that the Makefile lacks."""
    words = line.split()
    assert words[0] == "make"
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
