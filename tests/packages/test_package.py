"""One type for a package, from the converter's hands to disk and back."""

from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress import ConversionRefused, Package, RefusedPackageError
from onnxpress.packages.golden import Golden
from onnxpress.packages.package import GOLDEN_FILE, PROFILE_FILE
from onnxpress.protos.package_pb2 import GeneratorReport, Manifest, ParityReport, Source
from tests.model_repository import Models, edit_manifest


def test_what_was_saved_is_loaded(models: Models) -> None:
    """`onnxpress.load` gives every part back, knows where it lies, and all of it verifies."""
    package = onnxpress.load(models.root / "churn/1")
    assert isinstance(package, Package)
    assert repr(package) == "Package(churn/1, sklearn Pipeline)"
    assert [name for name, _ in package.columns()] == ["contract", "city", "charges", "tenure"]
    assert package.folder == models.root / "churn/1"
    assert (package.parity.exact, package.proved, package.matrix, package.bare) == (True, True, False, False)
    package.verify()


def test_a_loaded_package_can_be_saved_elsewhere(models: Models, tmp_path: Path) -> None:
    """Under another number it is the same model with the same proof; the manifest names its number and its files."""
    first = onnxpress.load(models.root / "price/1")
    first.manifest.files["of-a-later-format"].bytes = 1
    second = onnxpress.load(first.save(tmp_path, version=7))
    second.verify()
    assert (second.version, second.digest) == (7, first.digest)
    assert second.golden.to_bytes() == first.golden.to_bytes()
    assert (second.profile, second.parity) == (first.profile, first.parity)


@pytest.mark.parametrize("file", [GOLDEN_FILE, PROFILE_FILE])
def test_verify_reads_the_files_again(models: Models, tmp_path: Path, file: str) -> None:
    """A file that was changed or removed after the package was loaded is named."""
    models.copy(tmp_path, "price/1")
    package = onnxpress.load(tmp_path / "price/1")
    with (tmp_path / "price/1" / file).open("ab") as changed:
        changed.write(b" ")
    with pytest.raises(RefusedPackageError, match=f"{file} has digest"):
        package.verify()
    (tmp_path / "price/1" / file).unlink()
    with pytest.raises(RefusedPackageError, match=f"{file} cannot be read: No such file"):
        package.verify()


def test_verify_replays_the_golden_rows(models: Models) -> None:
    """A package that is not on disk is verified by its golden rows alone, and one wrong answer is named."""
    loaded = onnxpress.load(models.root / "price/1")
    outputs = {"prediction": np.array(loaded.golden.outputs["prediction"])}
    golden = Golden(loaded.golden.inputs, outputs, loaded.golden.tolerance)
    package = Package(loaded.onnx, loaded.manifest, golden=golden)
    package.verify()
    outputs["prediction"][3] += 1
    with pytest.raises(RefusedPackageError, match="golden row 3 differs in 'prediction'"):
        package.verify()


def test_a_bare_model_verifies_and_is_not_saved(models: Models, tmp_path: Path) -> None:
    """It has nothing to hold it to but that ONNX Runtime takes it; saving it would invent a proof."""
    package = onnxpress.load(models.root / "bare/1")
    assert repr(package) == "Package(bare/1, bare)"
    package.verify()
    with pytest.raises(ConversionRefused, match=r"bare is a bare model\.onnx without a proof"):
        package.save(tmp_path)


@pytest.mark.parametrize("place", ["price", "nowhere/1"])
def test_a_folder_that_is_no_version_is_refused(models: Models, place: str) -> None:
    """The model's folder, and one that is not there, are refused with the reason."""
    with pytest.raises(RefusedPackageError, match=r"price is not a positive integer|model\.onnx cannot be read"):
        onnxpress.load(models.root / place)


def test_a_contract_that_cannot_be_parsed_is_refused(models: Models, tmp_path: Path) -> None:
    """A manifest of another shape is named as the file at fault."""
    models.copy(tmp_path, "price/1")
    edit_manifest(tmp_path / "price/1", lambda manifest: manifest.files.clear())
    with pytest.raises(RefusedPackageError, match=r"manifest\.json names no digest of model\.onnx"):
        onnxpress.load(tmp_path / "price/1")
    (tmp_path / "price/1/manifest.json").write_text("{")
    with pytest.raises(RefusedPackageError, match=r"manifest\.json cannot be parsed"):
        onnxpress.load(tmp_path / "price/1")


@pytest.mark.parametrize(
    ("framework", "report"),
    [
        ("onnx", GeneratorReport(generator="B", rows=9)),
        ("sklearn", GeneratorReport(generator="B", rows=0)),
        ("sklearn", GeneratorReport(generator="B", rows=9, outside=1)),
        ("sklearn", GeneratorReport(generator="R", rows=9)),
    ],
)
def test_only_our_own_graphs_with_equal_batches_are_proved(framework: str, report: GeneratorReport) -> None:
    """A stranger's graph, and one whose batches were not or not equally answered, is examined at its first load."""
    manifest = Manifest(format=1, name="m", source=Source(framework="sklearn"))
    good = ParityReport(exact=True, generators=[GeneratorReport(generator="B", rows=9)])
    assert Package(b"", manifest, parity=good).proved
    manifest.source.framework = framework
    assert not Package(b"", manifest, parity=ParityReport(exact=True, generators=[report])).proved
    assert not Package(b"", manifest, parity=ParityReport(exact=False, generators=good.generators)).proved
