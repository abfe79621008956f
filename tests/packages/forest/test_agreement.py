"""Which batches are tried, and how a difference is reported."""

import numpy as np

from onnxpress.packages.forest.agreement import BATCHES, first_disagreement, in_turn, of_each_size


def test_batches_cover_all_rows() -> None:
    """Full batches, wrapped at the end: all sizes in turn until all rows are covered, or each size covers them."""
    for rows in (1, 3, 300, 2500):
        turned = list(in_turn(rows))
        assert [len(batch) for batch in turned] == [BATCHES[n % len(BATCHES)] for n in range(len(turned))]
        assert {*np.concatenate(turned).tolist()} == {*range(rows)}
        for size in BATCHES:
            of_size = [batch for batch in of_each_size(rows) if len(batch) == size]
            assert {*np.concatenate(of_size).tolist()} == {*range(rows)}


def test_a_difference_names_row_and_batch() -> None:
    """The row as it is counted in the feeds, the size of the batch, and both answers; -0.0 differs from 0.0."""
    rows = np.arange(40, dtype=np.float32).reshape(-1, 1)
    expected = [rows * 0, rows * 2]

    def run(feeds):
        (x,) = feeds.values()
        return [np.where((x == 11) & (len(x) == 7), np.float32(-0.0), x * 0), x * 2]

    found = first_disagreement(run, {"x": rows}, expected, of_each_size(40))
    assert found is not None
    assert (found.row, found.batch, found.output) == (11, 7, 0)
    assert str(found) == "row 11 in a batch of 7: ONNX Runtime says [0.0], the compiled forest [-0.0]"
    assert first_disagreement(lambda f: [f["x"] * 0, f["x"] * 2], {"x": rows}, expected, in_turn(40)) is None


def test_another_shape_or_type_is_a_difference() -> None:
    """An answer of float64, or of fewer rows, is no equal answer."""
    rows = np.ones((4, 1), np.float32)
    for wrong in (lambda f: [f["x"].astype(np.float64)], lambda f: [f["x"][:-1]]):
        assert first_disagreement(wrong, {"x": rows}, [rows], [np.arange(4)]) is not None
