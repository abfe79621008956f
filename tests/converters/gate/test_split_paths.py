"""Rows that reach every split of a compiled ensemble and take both of its branches."""

import math

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from onnxpress.converters import sample as samples
from onnxpress.converters.from_sklearn.family import FAMILY
from onnxpress.converters.gate.probe_rows import ProbeRows
from onnxpress.converters.gate.split_paths import ensemble_inputs, plans


def numbers() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(300, 3))


def fitted(rows: np.ndarray) -> DecisionTreeRegressor:
    target = np.sin(9 * rows[:, 0]) + rows[:, 1] * rows[:, 2]
    return DecisionTreeRegressor(max_depth=9, random_state=0).fit(rows.astype(np.float32), target)


def reached(model, rows: np.ndarray, layout: str = "matrix"):
    """The ensemble, and the T rows of all of its splits with the number of splits processed."""
    frame = samples.frame_of(rows)
    subject = FAMILY.open(model, frame, layout)
    wire = samples.sent(samples.typed(frame, subject.schema), subject.schema)
    (ensemble,) = ensemble_inputs(subject.compile(), subject.schema, wire)
    probe = ProbeRows(wire, subject.schema)
    at, _, done = plans(ensemble, probe, np.arange(len(ensemble.splits.feature)), math.inf)
    return ensemble, probe.frame(at, slice(0, len(at))), done


def test_every_split_is_reached_on_both_sides() -> None:
    """Each split is reached within one float32 on both sides, which the sample's rows do not achieve."""
    rows = numbers()
    model = fitted(rows)
    _, made, done = reached(model, rows)
    tree = model.tree_
    splits = np.flatnonzero(tree.children_left >= 0)
    assert done == len(splits)
    visited = model.decision_path(made.to_numpy(np.float32)).toarray().astype(bool)
    close = np.abs(made.to_numpy()[:, tree.feature[splits]] - tree.threshold[splits]) < 1e-5
    for place, split in enumerate(splits):
        near = close[:, place]
        assert visited[near, tree.children_left[split]].any()
        assert visited[near, tree.children_right[split]].any()


def test_the_client_column_is_found_behind_a_scaler() -> None:
    """The column, slope and offset behind each tensor column are found."""
    rows = numbers() * [1.0, 20.0, 300.0] + 7
    model = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=4, random_state=0)).fit(rows, rows[:, 1])
    ensemble, _, _ = reached(model, rows, "columns")
    used = np.unique(ensemble.splits.feature)
    scaler = model[0]
    assert ensemble.column[used].tolist() == used.tolist()
    np.testing.assert_allclose(ensemble.slope[used], 1 / scaler.scale_[used], rtol=1e-5)
    np.testing.assert_allclose(ensemble.offset[used], -scaler.mean_[used] / scaler.scale_[used], rtol=1e-4)


def test_out_of_time_means_fewer_splits() -> None:
    """After the deadline no more splits are processed, and the number of those processed is returned."""
    rows = numbers()
    frame = samples.frame_of(rows)
    subject = FAMILY.open(fitted(rows), frame, "matrix")
    wire = samples.typed(frame, subject.schema)
    (ensemble,) = ensemble_inputs(subject.compile(), subject.schema, wire)
    at, missing, done = plans(ensemble, ProbeRows(wire, subject.schema), np.arange(5), -math.inf)
    assert (len(at), len(missing), done) == (0, 0, 0)


def test_a_model_without_trees_has_no_ensembles() -> None:
    """A linear model's graph has no ensembles."""
    from sklearn.linear_model import LinearRegression

    rows = numbers()
    frame = pd.DataFrame(rows, columns=list("abc"))
    subject = FAMILY.open(LinearRegression().fit(frame, rows[:, 0]), frame, "auto")
    assert ensemble_inputs(subject.compile(), subject.schema, frame) == []
