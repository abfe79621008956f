"""Which folders of a repository are models and versions."""

from pathlib import Path

import pytest

from onnxpress.server.errors import UnknownModelError
from onnxpress.server.sources.folder import Repository


def add(root: Path, *versions: str) -> None:
    for version in versions:
        (root / version).mkdir(parents=True)
        (root / version / "model.onnx").write_bytes(b"")


def test_only_versions_by_the_one_rule_count(tmp_path: Path) -> None:
    """A folder with a leading zero, a sign or a model.onnx missing is no version; the rest come in order of number."""
    add(tmp_path / "churn", "10", "2", "01", "0", "-1", "²", "x", ".3.tmp", "9" * 19)
    (tmp_path / "churn" / "4").mkdir()
    assert Repository(tmp_path, 1).versions("churn") == [2, 10]


def test_only_models_by_the_one_rule_count(tmp_path: Path) -> None:
    """Hidden folders, names that no conversion would take and folders without versions are no models."""
    for name in ("churn", "b.2", ".onnxpress", "_own", "größe", "a b"):
        add(tmp_path / name, "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    repository = Repository(tmp_path, 1)
    assert repository.models() == ["b.2", "churn"]
    assert repository.versions("größe") == []


@pytest.mark.parametrize("name", ["", "..", "../other/churn", ".hidden", "/etc"])
def test_a_name_that_is_a_path_leads_nowhere(tmp_path: Path, name: str) -> None:
    """What a caller names is never followed out of the repository."""
    add(tmp_path / "other" / "churn", "1")
    repository = Repository(tmp_path / "models", 1)
    assert repository.folder(name) is None
    with pytest.raises(UnknownModelError):
        repository.read(name, 1)
