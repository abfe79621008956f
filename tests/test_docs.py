"""What the documents name exists."""

import re
from pathlib import Path

import pytest

from onnxpress.server.settings import document

ROOT = Path(__file__).parents[1]
ROOMS = (
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
)
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/decisions/*.md"), *ROOT.glob("examples/*/*.md")]
)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
CODE = re.compile(rf"`((?:{'|'.join(map(re.escape, ROOMS))})/[\w./-]*)(?:::(\w+))?`")
# Names that a page of this project must not carry: paths of somebody's machine.
PRIVATE = re.compile(r"/(?:home|root|work|tmp)/")


def named(page: Path) -> set[tuple[Path, str]]:
    """Every file or folder that a page links to or writes as code, and the test or function behind `::`."""
    text = page.read_text()
    links = {((page.parent / target).resolve(), "") for target in LINK.findall(text)}
    return links | {(ROOT / path, name) for path, name in CODE.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_a_page_names_exists(page: Path) -> None:
    """Links lead somewhere, and files written as code are there."""
    for path, name in named(page):
        assert path.exists(), f"{page.name} names {path.relative_to(ROOT)}"
        assert not name or f"def {name}(" in path.read_text(), f"{page.name} names {name} of {path.name}"


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


def test_every_module_of_the_server_is_in_the_architecture() -> None:
    """A module that nobody describes has no room."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    modules = [path for path in (ROOT / "server").rglob("*.py") if path.name != "__init__.py"]
    named = {path: (f"`{path.stem}`", f"`{path.relative_to(ROOT)}`") for path in modules}
    missing = [str(path.relative_to(ROOT)) for path, names in named.items() if not any(name in text for name in names)]
    assert not missing
