"""How two answers to the same rows compare, and which rows are kept."""

import json
import struct
from math import inf, nan

import numpy as np
import pytest

from onnxpress.server.rollouts.pairs import (
    KEPT_MAX,
    NO_PAIRS,
    TEXT_MAX,
    Comparison,
    Kept,
    KeptRow,
    Pairs,
    columns,
    worst,
)
from onnxpress.server.serving.tensors import ANY, Signature, TensorSpec

X = TensorSpec("x", "FP32", (ANY, 2))
CITY = TensorSpec("city", "BYTES", (ANY, 1))
LABEL = TensorSpec("label", "INT64", (ANY, 1))
NAME = TensorSpec("name", "BYTES", (ANY, 1))
SCORES = TensorSpec("scores", "FP32", (ANY, 2))
PLAIN = Signature((X,), (LABEL, SCORES))


def answers(labels: list[int], scores: list[list[float]]) -> list[np.ndarray]:
    return [np.array(labels, np.int64).reshape(-1, 1), np.array(scores, np.float32)]


def rows(count: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)}


def test_labels_and_scores() -> None:
    """One label of three differs; the largest difference of any score is found."""
    ours = answers([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    theirs = answers([0, 0, 1], [[0.9, 0.1], [0.6, 0.4], [0.5, 0.25]])
    pairs = Comparison(PLAIN, PLAIN).compare(ours, theirs, rows(3))
    assert (pairs.rows, pairs.flips) == (3, 1)
    assert pairs.largest == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("ours", "theirs", "difference"),
    [(nan, nan, 0.0), (inf, inf, 0.0), (nan, 1.0, inf), (1.0, nan, inf), (inf, -inf, inf), (1.0, inf, inf)],
)
def test_numbers_that_are_none(ours: float, theirs: float, difference: float) -> None:
    """Equal NaN and infinities are equal; a NaN of one version is kept as the worst, and is not the largest number."""
    kept = Kept()
    pairs = Comparison(PLAIN, PLAIN).compare(
        answers([0, 0], [[ours, 0], [0, 0]]), answers([0, 0], [[theirs, 0], [0.25, 0]]), rows(2), kept
    )
    assert pairs == Pairs(2, 0, 0.25)
    assert [row.difference for row in kept.rows] == ([inf, 0.25] if difference else [0.25])


def test_outputs_are_matched_by_name() -> None:
    """In another order, and beside others; an output of another datatype or shape is not compared."""
    other = Signature((X,), (TensorSpec("extra", "FP32", (ANY, 1)), SCORES, LABEL))
    comparison = Comparison(PLAIN, other)
    assert (comparison.label, comparison.scores) == ((0, 2), [(1, 1)])
    wider = Signature((X,), (TensorSpec("label", "INT32", (ANY, 1)), TensorSpec("scores", "FP32", (ANY, 3))))
    nothing = Comparison(PLAIN, wider)
    assert (nothing.label, nothing.scores) == (None, [])
    theirs = [np.zeros((2, 1), np.int32), np.ones((2, 3), np.float32)]
    assert nothing.compare(answers([1, 1], [[0, 0]] * 2), theirs, rows(2)) == Pairs(2, 0, 0.0)


@pytest.mark.parametrize(
    ("champion", "candidate", "because"),
    [
        (PLAIN, PLAIN, ""),
        (Signature((X, CITY), (LABEL,)), PLAIN, ""),  # one input less
        (PLAIN, Signature((X, CITY), (LABEL,)), "another input 'city'"),
        (PLAIN, Signature((TensorSpec("x", "FP64", (ANY, 2)),), (LABEL,)), "another input 'x'"),
        (PLAIN, Signature((TensorSpec("x", "FP32", (ANY, 3)),), (LABEL,)), "another input 'x'"),
        (PLAIN, Signature((X,), (LABEL,), alone="it normalises"), "depend on each other"),
    ],
)
def test_who_can_answer_whose_rows(champion: Signature, candidate: Signature, because: str) -> None:
    """All inputs of the candidate are among the champion's, or the reason says which is not."""
    reason = Comparison(champion, candidate).unanswerable
    assert because in reason
    assert bool(reason) == bool(because)


def test_texts() -> None:
    """Labels that are texts are compared as encoded, and kept readable, cut where they are long."""
    signature = Signature((CITY,), (NAME,))
    flat = [struct.pack("<I", len(text)) + text for text in (b"yes", b"y" * 300)]
    ours = columns([flat], signature.outputs, 2)
    theirs = columns([[flat[0], flat[0]]], signature.outputs, 2)
    kept = Kept()
    cities = np.array(["Ōsaka", "z" * 300], object).reshape(2, 1)
    assert Comparison(signature, signature).compare(ours, theirs, {"city": cities}, kept) == Pairs(2, 1)
    (row,) = kept.rows
    assert row.inputs == {"city": ["z" * TEXT_MAX + "…"]}
    assert (row.champion, row.candidate) == ({"name": ["y" * TEXT_MAX + "…"]}, {"name": ["yes"]})


def test_the_worst_rows_are_kept() -> None:
    """Of thousands in many batches the twenty that differ most, those with another label first, as plain values."""
    rng = np.random.default_rng(7)
    comparison, kept = Comparison(PLAIN, PLAIN), Kept()
    seen: list[tuple[bool, float]] = []
    for _ in range(60):
        difference = rng.random(50).astype(np.float32)
        flipped = rng.random(50) < 0.005
        ours = answers([0] * 50, [[0, 0]] * 50)
        theirs = answers(flipped.astype(int).tolist(), np.stack([difference, difference], 1).tolist())
        comparison.compare(ours, theirs, rows(50), kept)
        seen += zip(flipped.tolist(), difference.astype(float).tolist(), strict=True)
    told = [(row.flipped, row.difference) for row in kept.rows]
    assert told == sorted(seen, reverse=True)[:KEPT_MAX]
    assert 1 < sum(flipped for flipped, _ in told) < KEPT_MAX
    assert json.loads(json.dumps(kept.rows[0].inputs)).keys() == {"x"}


def test_equal_rows_are_not_kept() -> None:
    """Where both versions agree there is nothing to show."""
    kept = Kept()
    same = answers([0, 1], [[0.5, 0.5], [nan, 1]])
    assert Comparison(PLAIN, PLAIN).compare(same, same, rows(2), kept) == Pairs(2)
    assert not kept.rows


def test_sums_and_the_worst_of_several() -> None:
    """Pairs add up, and the largest difference stays the largest."""
    assert Pairs(3, 1, 0.5) + Pairs(2, 2, 0.25) == Pairs(5, 3, 0.5)
    assert NO_PAIRS + NO_PAIRS == NO_PAIRS
    small, large, flipped = (KeptRow(f, d, {}, {}, {}) for f, d in ((False, 0.1), (False, 0.9), (True, 0.0)))
    assert worst([small], [large, flipped], most=2) == [flipped, large]
