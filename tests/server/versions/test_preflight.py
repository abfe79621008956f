"""The first load of a version, in a process of its own."""

from pathlib import Path

import pytest

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.server.errors import (
    DrainingError,
)
from onnxpress.server.settings import Settings
from onnxpress.server.versions.preflight import Preflights
from tests.model_repository import Models


def test_a_repository_may_be_named_relative_to_the_server(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child works in another folder than the server, and finds the package all the same."""
    models.copy(tmp_path / "repository", "numbers")
    monkeypatch.chdir(tmp_path)
    Preflights(Settings(repository=Path("repository"))).load(Path("repository/numbers/1"), "numbers", 1)


def test_what_is_no_model_is_refused_with_the_childs_reason(tmp_path: Path) -> None:
    """The parent's error says what the child found."""
    package = tmp_path / "broken/1"
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(b"no model")
    with pytest.raises(RefusedPackageError, match=r"model\.onnx is not an ONNX model"):
        Preflights(Settings(repository=tmp_path)).load(package, "broken", 1)


def test_after_stop_nothing_is_tried(tmp_path: Path) -> None:
    """A server that goes away starts no more children."""
    preflights = Preflights(Settings(repository=tmp_path))
    preflights.stop()
    with pytest.raises(DrainingError, match="stopping"):
        preflights.load(tmp_path, "any", 1)
