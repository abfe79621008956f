"""`onnxpress verify`: a package that holds, and one that does not."""

import json
from pathlib import Path

import pytest

from onnxpress.__main__ import main
from tests.documented import check_documented
from tests.model_repository import Models


@pytest.fixture
def package(models: Models, tmp_path: Path) -> Path:
    return models.copy(tmp_path / "repository", "numbers/1") / "numbers" / "1"


def test_json_has_the_documented_keys(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--output json` prints one object with the keys of docs/cli.md."""
    assert main(["verify", str(package), "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    check_documented(told)
    assert (told["schema"], told["package"]) == ("onnxpress.verify/v1", str(package))
    assert told["golden_rows"] > 0
    assert told["files"] > 0


def test_lines_for_people(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A label and a value a line."""
    assert main(["verify", str(package)]) == 0
    labels = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert labels == ["digests", "golden", "runtime", "engine", "model"]


def test_a_changed_file_is_refused(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not what the manifest says is exit 3 and one line that names it."""
    golden = package / "golden.npz"
    golden.chmod(0o644)
    golden.write_bytes(golden.read_bytes() + b"x")
    assert main(["verify", str(package)]) == 3
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("onnxpress verify: refused: ")
    assert "golden.npz" in said.err


def test_a_folder_without_a_model_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, naming what is not there."""
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"onnxpress verify: {tmp_path} holds no model.onnx\n"
