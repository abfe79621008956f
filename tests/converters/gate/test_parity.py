"""The gate finds planted faults, passes correct models, and reports what it evaluated."""

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from onnxpress import ConversionRefused
from onnxpress.converters import sample as samples
from onnxpress.converters.convert import family_of
from onnxpress.converters.family import Answer
from onnxpress.converters.gate import parity
from onnxpress.converters.gate.parity import Proof, prove
from tests.converters.faults import FAULTS, Fault, coloured, regressor, three_classes


def proof_of(model: Any, sample: Any, plant: Any = lambda _model: None) -> Proof:
    """The gate's findings on `model` and its compiled model after `plant` edited that."""
    frame = samples.frame_of(sample)
    subject = family_of(model).open(model, frame, "auto")
    compiled = subject.compile()
    plant(compiled)
    onnx.checker.check_model(compiled)
    return prove(subject, rows=samples.typed(frame, subject.schema), compiled=compiled)


def outside(proof: Proof) -> dict[str, int]:
    return {found.generator: found.outside for found in proof.report.generators}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_finds_the_planted_fault(fault: Fault) -> None:
    """Each fault is found by the generators that target it, and by no other."""
    proof = proof_of(*fault.build(), fault.plant)
    found = outside(proof)
    assert found[fault.generator] > 0
    assert {name: found[name] for name in fault.blind} == dict.fromkeys(fault.blind, 0)
    with pytest.raises(ConversionRefused, match=rf"{fault.generator}[ :]"):
        proof.check()


@pytest.mark.parametrize("build", sorted({fault.build for fault in FAULTS}, key=lambda build: build.__name__))
def test_passes_the_same_models_without_faults(build: Any) -> None:
    """Without the fault no generator finds a difference."""
    proof = proof_of(*build())
    # After a scaler, float32 cannot represent every double: that is noted, not refused.
    assert not any(count for generator, count in outside(proof).items() if generator != "D")
    assert proof.report.exact
    proof.check()


def test_refusal_names_generator_row_answers_and_remedy() -> None:
    """The refusal names the generator, the row, both answers and a remedy."""
    fault = next(fault for fault in FAULTS if fault.generator == "N")
    with pytest.raises(ConversionRefused) as refusal:
        proof_of(*fault.build(), fault.plant).check()
    message = str(refusal.value)
    assert "missing values" in message
    assert "=nan" in message
    assert "where the original returns" in message
    assert "What you can do: fill missing values" in message


def test_worst_rows_hold_inputs_and_both_answers() -> None:
    """The report has at most three rows for each generator, with inputs and both answers."""
    fault = FAULTS[0]
    proof = proof_of(*fault.build(), fault.plant)
    worst = next(found.worst for found in proof.report.generators if found.generator == "T")
    assert 1 <= len(worst) <= 3
    assert sorted(worst[0].inputs) == ["f0", "f1", "f2", "f3"]
    assert worst[0].output == "prediction"
    assert worst[0].original != worst[0].compiled
    assert abs(float(worst[0].original[0]) - float(worst[0].compiled[0])) > worst[0].tolerance


def test_every_generator_reports() -> None:
    """parity.json lists all nine generators in order, with rows if the model has any for them."""
    proof = proof_of(*regressor())
    assert [found.generator for found in proof.report.generators] == list("RTNZCDBWO")
    assert all(found.rows for found in proof.report.generators if found.generator in "RTNZDBW")


def test_golden_rows_are_hard_few_and_plain() -> None:
    """There are at most 256 golden rows, in the client's types, loadable without pickle."""
    model, sample = coloured()
    golden = proof_of(model, sample).golden
    rows = len(golden.inputs["colour"])
    assert rows <= 256
    assert golden.inputs["colour"].dtype.kind == "U"
    assert golden.inputs["colour"].shape == (rows, 1)
    assert golden.outputs["label"].shape == (rows,)
    assert golden.outputs["probabilities"].dtype == golden.tolerance["probabilities"].dtype == np.float64
    # They include values that no training row had.
    assert set(golden.inputs["colour"].ravel()) > set(sample["colour"])
    probes = pd.DataFrame({"colour": golden.inputs["colour"].ravel()})
    assert np.array_equal(golden.outputs["probabilities"], model.predict_proba(probes))


def test_rows_that_the_original_refuses_are_left_out_and_noted() -> None:
    """A model that refuses NaN and infinity converts, and the manifest's notes name them."""
    rows = np.random.default_rng(0).normal(size=(100, 3))
    proof = proof_of(LinearRegression().fit(rows, rows.sum(axis=1)), rows)
    proof.check()
    assert any("refuses missing values in 'f0', 'f1', 'f2'" in note for note in proof.notes)
    assert any("refuses infinity" in note for note in proof.notes)
    assert not np.isnan(proof.golden.inputs["input"]).any()


def test_says_what_was_sampled_when_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator out of time stops after a block, and the report has the number of rows evaluated."""
    monkeypatch.setitem(parity.BUDGETS, "T", 0.0)
    proof = proof_of(*regressor())
    assert [note for note in proof.report.sampled if note.startswith("T: 256 of ")]


def test_is_deterministic() -> None:
    """Two runs of the gate evaluate the same rows and store the same golden rows."""
    first, second = proof_of(*three_classes()), proof_of(*three_classes())
    assert first.golden.to_bytes() == second.golden.to_bytes()
    assert [found.rows for found in first.report.generators if found.generator != "B"] == [
        found.rows for found in second.report.generators if found.generator != "B"
    ]


def test_doubles_that_float32_cannot_hold_are_noted_not_refused() -> None:
    """If a double's answer is not that of its float32, the matrix layout is exact for FP32 and notes it."""
    rows = np.random.default_rng(0).normal(size=(200, 2)) + 1 / 3
    from sklearn.ensemble import HistGradientBoostingRegressor

    proof = proof_of(HistGradientBoostingRegressor(max_iter=10).fit(rows, rows[:, 0]), rows)
    assert outside(proof)["D"] > 0
    assert proof.report.exact
    assert proof.exact_datatype == "FP32"
    assert any(note.startswith("doubles:") for note in proof.notes)


class Misshapen:
    """A model whose original returns one row too few."""

    def __init__(self, subject: Any) -> None:
        self.subject = subject

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def answer(self, rows: pd.DataFrame) -> Answer:
        answer = self.subject.answer(rows)
        return dataclasses.replace(answer, outputs={name: values[1:] for name, values in answer.outputs.items()})


def test_refuses_an_original_with_a_wrong_number_of_rows() -> None:
    """An original that returns fewer answers than rows is refused."""
    model, sample = regressor()
    frame = samples.frame_of(sample)
    subject = family_of(model).open(model, frame, "auto")
    with pytest.raises(ConversionRefused, match="shapes"):
        prove(Misshapen(subject), rows=samples.typed(frame, subject.schema), compiled=subject.compile())


# The whole gate on the largest model that the design names, in a separate process so that its memory can be measured.
LARGE = """
import resource, time
import numpy as np
from xgboost import XGBClassifier
from onnxpress import convert
random = np.random.default_rng(0)
rows = random.normal(size=(20_000, 30))
target = (rows[:, 0] + rows[:, 1] ** 2 + random.normal(size=len(rows)) > 0.5).astype(int)
model = XGBClassifier(n_estimators=1000, max_depth=8).fit(rows, target)
package = convert(model, rows, name="large")
assert package.manifest.trees >= 1000
print(package.parity.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.long
def test_a_thousand_deep_trees_are_proved_in_bounded_time_and_memory() -> None:
    """1,000 trees of depth 8: the gate takes less than 30 s, training and all less than 1 GiB."""
    child = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    seconds, gibibytes = map(float, child.stdout.split())
    assert seconds < 30
    assert gibibytes < 1
