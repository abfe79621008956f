"""Which folders of a repository are models and versions, and where they lie."""

import ast
from pathlib import Path

import pytest

from onnxpress.packages.verdicts import GateVerdict
from onnxpress.server.errors import UnknownModelError, UnknownVersionError
from onnxpress.server.sources.folder import FolderSource
from tests.server_process import ROOT


def add(root: Path, *versions: str) -> None:
    for version in versions:
        (root / version).mkdir(parents=True)
        (root / version / "model.onnx").write_bytes(b"")


def test_only_versions_by_the_one_rule_count(tmp_path: Path) -> None:
    """A folder with a leading zero, a sign or a model.onnx missing is no version; the rest come in order of number."""
    add(tmp_path / "churn", "10", "2", "01", "0", "-1", "²", "x", ".3.tmp", "9" * 19)
    (tmp_path / "churn" / "4").mkdir()
    assert FolderSource(tmp_path).versions("churn") == [2, 10]


def test_only_models_by_the_one_rule_count(tmp_path: Path) -> None:
    """Hidden folders, names that no conversion would take and folders without versions are no models."""
    for name in ("churn", "b.2", ".onnxpress", "_own", "größe", "a b"):
        add(tmp_path / name, "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    source = FolderSource(tmp_path)
    assert source.models() == ["b.2", "churn"]
    assert source.versions("größe") == []
    assert FolderSource(tmp_path / "nowhere").models() == []


def test_fetch_says_where_a_version_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is absolute, so that other processes find it; what is not there is named with what is."""
    add(tmp_path / "models/churn", "1", "3")
    monkeypatch.chdir(tmp_path)
    source = FolderSource(Path("models"))
    assert source.fetch("churn", 3) == tmp_path / "models/churn/3"
    with pytest.raises(UnknownVersionError, match="no version 2; there are 1, 3"):
        source.fetch("churn", 2)
    with pytest.raises(UnknownModelError, match="'price' is not in the repository; there are churn"):
        source.fetch("price", 1)


@pytest.mark.parametrize("name", ["", "..", "../other/churn", ".hidden", "/etc"])
def test_a_name_that_is_a_path_leads_nowhere(tmp_path: Path, name: str) -> None:
    """What a caller names is never followed out of the repository."""
    add(tmp_path / "other" / "churn", "1")
    (tmp_path / "models").mkdir()
    source = FolderSource(tmp_path / "models")
    assert source.model_file(name, "deployment.json") is None
    assert source.versions(name) == []
    with pytest.raises(UnknownModelError):
        source.fetch(name, 1)


def test_files_of_models(tmp_path: Path) -> None:
    """A file beside the versions is found for every model that has it, versions or not."""
    add(tmp_path / "churn", "1")
    for name in ("price", ".onnxpress"):
        (tmp_path / name).mkdir()
    for name in ("price", ".onnxpress"):
        (tmp_path / name / "deployment.json").write_text("{}")
    source = FolderSource(tmp_path)
    assert source.model_file("churn", "deployment.json") == tmp_path / "churn/deployment.json"
    assert [(name, status.st_size) for name, status in source.model_files("deployment.json").items()] == [("price", 2)]


def test_the_verdict_beside_a_version(tmp_path: Path) -> None:
    """It is read each time, belongs to its version alone, and is no version itself; a damaged one says so."""
    add(tmp_path / "churn", "1", "2")
    (tmp_path / "churn/2.gate.json").write_text("{")
    source = FolderSource(tmp_path)
    assert source.verdict("churn", 1) is None
    assert source.verdict("../churn", 2) is None
    damaged = source.verdict("churn", 2)
    assert damaged is not None
    assert damaged.verdict is GateVerdict.UNREADABLE
    assert source.versions("churn") == [1, 2]


# Names that stand for the repository or a part of its layout.
PARTS = {"repository", "root", "model", "name", "version", "desired"}
# Joins the default of the state folder; names of servers; checked names of models in the state folder.
NOT_ITS_LAYOUT = {"server/settings.py", "server/versions/state_folder.py", "server/rollouts/recorder.py"}


def test_nobody_else_builds_paths_of_the_repository() -> None:
    """No other module of the server joins the repository, a model or a version with a path."""
    wrong = []
    for path in (ROOT / "server").rglob("*.py"):
        where = str(path.relative_to(ROOT))
        if where.startswith("server/sources/") or where in NOT_ITS_LAYOUT:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            joined: list[ast.AST] = []
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                joined = [node.left, node.right]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "joinpath":
                joined = [node.func.value, *node.args]
            names = {getattr(part, "id", getattr(part, "attr", "")) for one in joined for part in ast.walk(one)}
            if names & PARTS:
                wrong.append(f"{where}:{node.lineno}: {ast.unparse(node)}")
    assert wrong == []
