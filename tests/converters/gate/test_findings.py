"""Findings: counts, the worst rows, and the refusal message."""

import numpy as np
import pandas as pd

from onnxpress.converters.family import Answer, Column, Schema
from onnxpress.converters.gate.compare import Difference
from onnxpress.converters.gate.findings import ADVICE, WORST_ROWS, Findings, sentence
from onnxpress.converters.gate.generators import DESCRIPTIONS
from onnxpress.protos.package_pb2 import Layout, Task

ROWS = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0, 5.0], "plan": ["a", "b", "c", "d", None]})
SCHEMA = Schema((Column("age", "FP64"), Column("plan", "BYTES")), Layout.COLUMNS, Task.REGRESSOR)


def found(sizes: list[float], tolerance: float = 0.1) -> Findings:
    size = np.array(sizes)
    original = np.arange(5.0).reshape(-1, 1)
    difference = Difference("prediction", size > tolerance, size, np.full(5, tolerance))
    findings = Findings("T", rows=5)
    compiled = {"prediction": original + size.reshape(-1, 1)}
    findings.add(difference, ROWS, Answer({"prediction": original}, {}), compiled)
    return findings


def test_counts_rows_outside_and_keeps_the_worst_of_them() -> None:
    """At most WORST_ROWS rows are kept, the farthest beyond its tolerance first, with inputs and both outputs."""
    findings = found([0.0, 0.2, 0.9, 0.5, 0.3])
    report = findings.report()
    assert (report.outside, report.rows) == (4, 5)
    assert report.worst_difference == 0.9
    assert len(report.worst) == WORST_ROWS
    assert dict(report.worst[0].inputs) == {"age": "3.0", "plan": "'c'"}
    assert (report.worst[0].original, report.worst[0].compiled) == (["2.0"], ["2.9"])


def test_the_largest_difference_is_reported_when_all_rows_are_inside() -> None:
    """A report without rows outside has the largest difference and its tolerance."""
    report = found([0.0, 0.01, 0.05, 0.0, 0.0]).report()
    assert report.outside == 0
    assert (report.worst_difference, report.worst_tolerance) == (0.05, 0.1)
    assert not report.worst


def test_the_worst_rows_of_several_blocks_are_merged() -> None:
    """Rows of a later block replace kept rows only if they are worse."""
    findings = found([0.0, 0.2, 0.3, 0.4, 0.0])
    findings.worst += found([9.0, 0.0, 0.0, 0.0, 0.0]).worst
    original = np.arange(5.0).reshape(-1, 1)
    size = np.array([0.0, 0.0, 0.0, 0.0, 5.0])
    findings.add(
        Difference("prediction", size > 0, size, np.zeros(5)),
        ROWS,
        Answer({"prediction": original}, {}),
        {"prediction": original},
    )
    assert [worst[1] for worst in findings.worst] == [9.0, 5.0, 0.4]
    assert findings.outside == 4


def test_a_failed_check_counts_as_a_row_outside() -> None:
    """Its note becomes part of the description."""
    findings = Findings("W")
    findings.fail("no 'input': no error was raised")
    report = findings.report()
    assert (report.rows, report.outside) == (1, 1)
    assert "no error was raised" in report.description


def test_the_refusal_names_the_column_the_value_and_what_to_do() -> None:
    """The message has generator, counts, the worst row's inputs and outputs, and advice."""
    text = sentence(found([0.0, 0.2, 0.9, 0.0, 0.0]).report(), SCHEMA)
    assert "2 of 5 rows" in text
    assert "age=3.0, plan='c'" in text
    assert "prediction is 2.9 where the original returns 2.0" in text
    assert text.endswith(ADVICE["T"])


def test_every_generator_has_advice() -> None:
    """The refusal of every generator ends with advice."""
    assert ADVICE.keys() == DESCRIPTIONS.keys()
