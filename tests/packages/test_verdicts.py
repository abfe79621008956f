"""The verdict beside a package: written whole, read whatever is there."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from onnxpress import load
from onnxpress.packages.verdicts import GateVerdict, StoredVerdict, file_name, read_verdict, write_verdict

DOCUMENT = {
    "schema": "onnxpress.comparison/v1",
    "model": "churn",
    "champion": 3,
    "challenger": 4,
    "verdict": "failed",
    "reasons": ["gain 0.001 is below the least gain 0.002"],
    "metric": "roc_auc",
    "gain": 0.001,
    "gain_low": -0.002,
    "gain_high": 0.004,
    "sha256": {"champion": "aa", "challenger": "bb"},
    "finished_at": "2026-11-27T09:04:44.350Z",
}


def test_what_was_written_is_read(tmp_path):
    """Figures, reasons and time come back, and a second verdict replaces the first."""
    write_verdict(tmp_path, 4, DOCUMENT | {"verdict": "passed"})
    path = write_verdict(tmp_path, 4, DOCUMENT)
    assert path == tmp_path / "4.gate.json"
    at = datetime(2026, 11, 27, 9, 4, 44, 350_000, UTC)
    reasons = ("gain 0.001 is below the least gain 0.002",)
    assert read_verdict(path) == StoredVerdict(
        GateVerdict.FAILED, reasons, 3, "roc_auc", 0.001, -0.002, 0.004, "bb", at
    )
    assert [one.name for one in tmp_path.iterdir()] == ["4.gate.json"]


def test_a_version_without_a_verdict_has_none(tmp_path):
    """No file is no verdict, rather than an unreadable one."""
    assert read_verdict(tmp_path / file_name(4)) is None


def damaged() -> dict[str, bytes]:
    whole = json.dumps(DOCUMENT).encode()
    without = {key: value for key, value in DOCUMENT.items() if key != "gain"}
    return {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "no text": b"\xff\xfe\x00",
        "a list": b"[]",
        "a number": b"7",
        "deep": b"[" * 100_000,
        "another schema": whole.replace(b"comparison/v1", b"comparison/v9"),
        "a key is missing": json.dumps(without).encode(),
        "another verdict": whole.replace(b'"failed"', b'"perhaps"'),
        "champion is text": whole.replace(b'"champion": 3', b'"champion": "x"'),
        "champion does not fit": whole.replace(b'"champion": 3', b'"champion": 99999999999999999999'),
        "no time": whole.replace(b"2026-11-27T", b"yesterday"),
    }


@pytest.mark.parametrize("damage", damaged())
def test_a_damaged_file_is_told_and_raises_nothing(tmp_path, damage):
    """A status must not fail because somebody's disk did."""
    path = tmp_path / file_name(4)
    path.write_bytes(damaged()[damage])
    read = read_verdict(path)
    assert read.verdict is GateVerdict.UNREADABLE
    assert "4.gate.json cannot be read" in read.reasons[0]


def test_a_folder_in_its_place_is_told(tmp_path):
    """So is any other error of the system."""
    (tmp_path / file_name(4)).mkdir()
    assert read_verdict(tmp_path / file_name(4)).verdict is GateVerdict.UNREADABLE


def test_a_failed_write_keeps_the_old_verdict(tmp_path):
    """What cannot be written leaves neither a half file nor a temporary one."""
    write_verdict(tmp_path, 4, DOCUMENT)
    with pytest.raises(TypeError):
        write_verdict(tmp_path, 4, {"schema": object()})
    assert read_verdict(tmp_path / file_name(4)).champion == 3
    assert [one.name for one in tmp_path.iterdir()] == ["4.gate.json"]


def test_a_verdict_leaves_the_package_as_it_is(tmp_path, models):
    """The digests of the package hold, and it is still the only version of its model."""
    root: Path = models.copy(tmp_path, "numbers/1")
    before = load(root / "numbers/1").digest
    write_verdict(root / "numbers", 1, DOCUMENT)
    package = load(root / "numbers/1")
    package.verify()
    assert package.digest == before
    assert {one.name for one in (root / "numbers").iterdir()} == {"1", "1.gate.json"}
