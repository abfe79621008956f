"""When a package's compiled forest may run batches, and what is said when it may not."""

import logging
from dataclasses import replace

import pytest

import onnxpress
from onnxpress.packages.forest import engine as engines
from onnxpress.packages.package import Package
from onnxpress.packages.runtime import Session
from onnxpress.protos.package_pb2 import ParityReport
from onnxpress.server.versions.forests import DIFFERENT, NO_PROOF, NONE_PACKED, forest_of
from tests.model_repository import Models
from tests.packages.forest.planted import with_a_wrong_leaf


@pytest.fixture(scope="module")
def package(models: Models) -> Package:
    return onnxpress.load(models.root / "numbers/1")


@pytest.mark.kernel
def test_a_proved_forest_answers_the_golden_rows(package: Package) -> None:
    """It gives the bits of ONNX Runtime, and no reason against it."""
    session = Session(package.onnx)
    forest, reason = forest_of(package, session)
    assert forest is not None
    assert reason == ""
    feeds = package.golden.feeds()
    for expected, actual in zip(session.run(feeds), forest.run(feeds), strict=True):
        assert actual.tobytes() == expected.tobytes()


@pytest.mark.kernel
def test_one_wrong_bit_disables_it(package: Package, caplog: pytest.LogCaptureFixture) -> None:
    """A leaf that is one ulp off is found on the golden rows, and the log has the row and both answers."""
    wrong = replace(package, forest=with_a_wrong_leaf(package.forest))
    with caplog.at_level(logging.ERROR):
        forest, reason = forest_of(wrong, Session(package.onnx))
    assert (forest, reason) == (None, DIFFERENT)
    (message,) = caplog.messages
    assert message.startswith(f"model 'numbers' version 1: {DIFFERENT}: row ")
    assert "ONNX Runtime says" in message
    assert "the row is {'input': [" in message


@pytest.mark.kernel
def test_no_forest_without_a_proof(package: Package) -> None:
    """A package whose parity report does not hold, or does not mention the forest, is run by ONNX Runtime."""
    session = Session(package.onnx)
    assert forest_of(replace(package, parity=ParityReport()), session) == (None, NO_PROOF)
    unmentioned = ParityReport()
    unmentioned.CopyFrom(package.parity)
    unmentioned.ClearField("forest")
    assert forest_of(replace(package, parity=unmentioned), session) == (None, NONE_PACKED)
    assert forest_of(replace(package, forest=b""), session) == (None, NONE_PACKED)


def test_the_reason_of_the_conversion_is_kept(models: Models) -> None:
    """A model without trees says so when it is loaded, as it did when it was converted."""
    churn = onnxpress.load(models.root / "churn/1")
    assert forest_of(churn, Session(churn.onnx)) == (None, "it has no trees")


@pytest.mark.kernel
@pytest.mark.parametrize("content", [b"PK", b"nonsense", b"PK\x03\x04" + bytes(60)])
def test_a_broken_file_is_named(package: Package, content: bytes) -> None:
    """The version still loads; only the forest is left out."""
    forest, reason = forest_of(replace(package, forest=content), Session(package.onnx))
    assert forest is None
    assert reason.startswith("its forest.npz cannot be read")


@pytest.mark.kernel
def test_without_a_kernel(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where onnxpress was installed without a compiler, ONNX Runtime serves the same package."""
    monkeypatch.setattr(engines, "Forest", None)
    assert forest_of(package, Session(package.onnx)) == (None, engines.NO_KERNEL)


@pytest.mark.kernel
def test_the_server_does_not_compare_again_after_the_preflight(package: Package) -> None:
    """The preflight ran the same bytes on the same machine; repeating it would double the time of a load."""
    wrong = replace(package, forest=with_a_wrong_leaf(package.forest))
    forest, reason = forest_of(wrong, Session(package.onnx), compared=True)
    assert forest is not None
    assert reason == ""
