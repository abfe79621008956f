"""A package on disk: whole or not there, numbered, immutable, with digests of all it holds."""

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format

from onnxpress import ConversionRefused, Package
from onnxpress.packages.golden import Golden
from onnxpress.packages.write import check_name, highest_version
from onnxpress.protos.package_pb2 import FeatureProfile, GeneratorReport, Manifest, ParityReport, Profile

FILES = {"model.onnx", "manifest.json", "profile.json", "golden.npz", "parity.json"}


@pytest.fixture
def package() -> Package:
    return Package(
        onnx=b"not read here",
        manifest=Manifest(format=1, name="churn", exact_datatype="FP32", trees=3),
        profile=Profile(rows=2, features=[FeatureProfile(name="größe ü", datatype="FP32")]),
        parity=ParityReport(exact=True, generators=[GeneratorReport(generator="R", worst_difference=float("inf"))]),
        golden=Golden({"input": np.zeros((2, 1), np.float32)}, {"label": np.array(["ja", "nein"])}, {}),
    )


def test_writes_the_five_files_with_digests(package: Package, tmp_path: Path) -> None:
    """The manifest names size and SHA-256 of each other file, and the version that it became."""
    path = package.save(tmp_path)
    assert path == tmp_path / "churn" / "1"
    assert {entry.name for entry in path.iterdir()} == FILES
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["version"] == "1"
    assert manifest["exact_datatype"] == "FP32"
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    for name, file in manifest["files"].items():
        content = (path / name).read_bytes()
        assert file == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": str(len(content))}


def test_contracts_come_back_as_they_went(package: Package, tmp_path: Path) -> None:
    """Profile, parity and golden rows survive the disk, infinities, umlauts and text included."""
    path = package.save(tmp_path)
    assert json_format.Parse((path / "profile.json").read_text(), Profile()) == package.profile
    assert json_format.Parse((path / "parity.json").read_text(), ParityReport()) == package.parity
    with np.load(path / "golden.npz", allow_pickle=False) as golden:
        assert golden["outputs/label"].tolist() == ["ja", "nein"]
        assert golden["inputs/input"].dtype == np.float32


def test_takes_the_next_number(package: Package, tmp_path: Path) -> None:
    """The default version is the highest plus one, gaps and foreign folders notwithstanding."""
    package.save(tmp_path, version=7)
    (tmp_path / "churn" / "notes").mkdir()
    (tmp_path / "churn" / ".9.aa.tmp").mkdir()
    assert package.save(tmp_path).name == "8"
    assert highest_version(tmp_path / "churn") == 8


def test_never_replaces_a_version(package: Package, tmp_path: Path) -> None:
    """An existing version stays as it is, and the refusal says what to do."""
    path = package.save(tmp_path, version=2)
    before = {entry.name: entry.read_bytes() for entry in path.iterdir()}
    with pytest.raises(ConversionRefused, match="version 2 of churn exists already"):
        package.save(tmp_path, version=2)
    assert {entry.name: entry.read_bytes() for entry in path.iterdir()} == before


@pytest.mark.parametrize("version", [0, -1])
def test_refuses_numbers_that_are_no_version(package: Package, tmp_path: Path, version: int) -> None:
    """Versions are positive integers."""
    with pytest.raises(ConversionRefused, match="positive"):
        package.save(tmp_path, version=version)


def test_a_failed_write_leaves_nothing(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills, neither a version nor a temporary folder is left."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        package.save(tmp_path)
    assert list((tmp_path / "churn").iterdir()) == []


def test_saves_at_the_same_time_get_different_numbers(package: Package, tmp_path: Path) -> None:
    """Eight saves at once make versions 1 to 8, each whole."""
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(package.save(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(path.name) for path in paths) == list(range(1, 9))
    assert all({entry.name for entry in path.iterdir()} == FILES for path in paths)


@pytest.mark.parametrize("name", ["", "../churn", "a/b", ".hidden", "a b", "x" * 129, "größe"])
def test_refuses_names_that_cannot_be_a_folder_everywhere(name: str) -> None:
    """A model's name is a path component, a metric's label and part of an address."""
    with pytest.raises(ConversionRefused, match="cannot be a model's name"):
        check_name(name)


def test_takes_ordinary_names() -> None:
    """Letters, digits, dot, underscore and hyphen."""
    check_name("Churn_2.v-1")
