"""Files, names, modules and command lines in the documents exist."""

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from onnxpress.__main__ import COMMANDS, Rooms
from onnxpress.server.settings import document

ROOT = Path(__file__).parents[1]
ROOMS = (
    "onnxpress",
    "packages",
    "client",
    "server",
    "converters",
    "loadtests",
    "protos",
    "tests",
    "examples",
    "docs",
    "benchmarks",
    "image",
    "kubernetes",
    "ci",
    ".ci",
    ".github",
)
# Rooms of Python modules, all of which the architecture's table of rooms lists.
MODULE_ROOMS = ("onnxpress", "packages", "client", "server", "converters", "loadtests")
ONE_FILE_PER_ESTIMATOR = "converters/from_"  # listed as a whole
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/decisions/*.md"), *ROOT.glob("examples/*/*.md")]
)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
CODE = re.compile(rf"`((?:{'|'.join(map(re.escape, ROOMS))})/[\w./-]*)(?:::(\w+))?`")
FENCE = re.compile(r"^```(?:console|sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# `onnxpress deploy churn 2` as code in a sentence; `onnxpress deploy: …` begins an error message of that command.
COMMAND_LINE = re.compile(r"`(onnxpress [^`]+)`")
FLAG_ALONE = re.compile(r"`(--[a-z][a-z0-9-]*)")
# Flags of other programs than `onnxpress` that pages name by themselves.
OTHER_FLAGS = {"--apart", "--log-file", "--quick"}
# Names that a page of this project must not carry: paths of somebody's machine.
PRIVATE = re.compile(r"/(?:home|root|work|tmp)/")


def named(page: Path) -> set[tuple[Path, str]]:
    """Every file or folder that a page links to or writes as code, and the test or function behind `::`."""
    text = page.read_text()
    links = {((page.parent / target).resolve(), "") for target in LINK.findall(text)}
    return links | {(ROOT / path, name) for path, name in CODE.findall(text)}


def defines(path: Path, name: str) -> bool:
    """Whether a Python file defines a function, class or variable of that name."""
    definition = rf"^\s*(?:async )?(?:def|class) {name}\b|^{name}\b.* = "
    return re.search(definition, path.read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_a_page_names_exists(page: Path) -> None:
    """Links lead somewhere, and files written as code are there."""
    for path, name in named(page):
        assert path.exists(), f"{page.name} names {path.relative_to(ROOT)}"
        assert not name or defines(path, name), f"{page.name} names {name} of {path.name}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_no_page_names_a_private_path(page: Path) -> None:
    """What only one machine has helps no reader."""
    assert not PRIVATE.search(page.read_text())


def test_the_settings_page_is_fresh() -> None:
    """`make docs` writes it from the settings themselves."""
    assert (ROOT / "docs/settings.md").read_text() == document()


def test_the_main_pages_name_files() -> None:
    """The pattern still finds what it must check: README's promises and the architecture's rooms."""
    assert len(named(ROOT / "README.md")) >= 10
    assert len(named(ROOT / "ARCHITECTURE.md")) >= 20


def rooms() -> dict[str, set[str]]:
    """Folder -> the names written as code in its row of the architecture's table of rooms."""
    rows = re.findall(r"^\| (`[^|]*/`) \|[^|]*\|([^|]*)\|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    return {
        folder.rstrip("/"): set(re.findall(r"`([\w./]+)`", modules))
        for folders, modules in rows
        for folder in re.findall(r"`([\w/]+)`", folders)
    }


def modules_of(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("__")}


def test_every_module_is_in_the_architecture() -> None:
    """Each folder of modules has a row in the table of rooms, and the row names each of its modules."""
    folders = {path.parent for room in MODULE_ROOMS for path in (ROOT / room).glob("**/*.py")}
    paths = {str(folder.relative_to(ROOT)) for folder in folders}
    assert paths - set(rooms()) == set()
    missing = {folder: modules_of(folder) - rooms()[folder] for folder in paths}
    assert {f: names for f, names in missing.items() if names and not f.startswith(ONE_FILE_PER_ESTIMATOR)} == {}


def test_the_architecture_names_no_module_that_is_gone() -> None:
    """A plain name in a row of the table of rooms is a module of that room."""
    plain = {
        folder: {name for name in names if re.fullmatch(r"[a-z][a-z0-9_]*", name)} for folder, names in rooms().items()
    }
    gone = {folder: names - modules_of(folder) for folder, names in plain.items()}
    assert {f: names for f, names in gone.items() if names and not f.startswith(ONE_FILE_PER_ESTIMATOR)} == {}


@cache
def command(name: str) -> click.Command:
    found = getattr(importlib.import_module(COMMANDS[name][0]), name)
    assert isinstance(found, click.Command)
    return found


def flags_of(found: click.Command) -> set[str]:
    context = click.Context(found, help_option_names=["-h", "--help"])
    return {flag for parameter in found.get_params(context) for flag in (*parameter.opts, *parameter.secondary_opts)}


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of each command line of `onnxpress` on a page, up to a pipe; those with a placeholder included."""
    text = page.read_text()
    lines = [line.removeprefix("$ ") for block in FENCE.findall(text) for line in block.splitlines()]
    found = [line.partition(" #")[0] for line in lines if line.startswith("onnxpress ")]
    for line in [*found, *COMMAND_LINE.findall(text)]:
        yield line.partition("|")[0].replace("\\", "").split()[1:]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_command_lines_exist(page: Path) -> None:
    """Every `onnxpress COMMAND` on a page is a command, and has the flags that it is shown with."""
    for words in command_lines(page):
        name = words[0].rstrip(":")
        known = flags_of(Rooms()) | {"--version"}
        if not name.isupper() and not name.startswith("-"):
            assert name in COMMANDS, f"{page.name} shows `onnxpress {name}`"
            known = flags_of(command(name)) | (flags_of(command("loadtest")) if name == "gate" else set())
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= known, f"{page.name} shows `onnxpress {name}` with {', '.join(flags - known)}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_flags_exist(page: Path) -> None:
    """Every flag that a page writes as code is a flag of some command."""
    known = OTHER_FLAGS.union(*(flags_of(command(name)) for name in COMMANDS), flags_of(Rooms()), ["--version"])
    assert set(FLAG_ALONE.findall(page.read_text())) - known == set()


def test_the_main_pages_show_command_lines() -> None:
    """The pattern still finds what it must check: each command is shown on a page."""
    pages = ("README.md", "docs/cli.md", "docs/admin.md", "docs/deployments.md", "docs/loadtests.md")
    shown = {words[0] for page in pages for words in command_lines(ROOT / page)}
    assert set(COMMANDS) <= shown
