"""Reading the ensembles of a graph: splits with their parents, and numbers of nodes."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor
from xgboost import XGBRegressor

from onnxpress.converters import sample as samples
from onnxpress.converters.convert import family_of
from onnxpress.converters.gate.splits import splits_of, tree_size

ROWS = np.random.default_rng(2).normal(size=(200, 3)).astype(np.float32)
TARGET = np.sin(3 * ROWS[:, 0]) + ROWS[:, 1]


@pytest.mark.parametrize(
    "model",
    [DecisionTreeRegressor(max_depth=5), XGBRegressor(n_estimators=3, max_depth=3, n_jobs=1)],
    ids=["ids", "xgb"],
)
def test_splits_have_their_parents_and_branches(model) -> None:
    """Each split except a root is on one branch of another, and no two share a branch."""
    frame = samples.frame_of(ROWS)
    compiled = family_of(model.fit(ROWS, TARGET)).open(model, frame, "auto").compile()
    (splits,) = splits_of(compiled)
    below = splits.parent >= 0
    assert (~below).sum() <= splits.trees
    sides = list(zip(splits.parent[below].tolist(), splits.on_true[below].tolist(), strict=True))
    assert len(set(sides)) == len(sides)
    trees, nodes = tree_size(compiled)
    assert trees == splits.trees
    assert nodes == 2 * len(splits.feature) + trees


def test_thresholds_are_those_of_the_model() -> None:
    """Columns and thresholds of a scikit-learn tree, in float64."""
    model = DecisionTreeRegressor(max_depth=4).fit(ROWS, TARGET)
    (splits,) = splits_of(family_of(model).open(model, samples.frame_of(ROWS), "auto").compile())
    inner = model.tree_.feature >= 0
    expected = sorted(zip(model.tree_.feature[inner].tolist(), model.tree_.threshold[inner].tolist(), strict=True))
    assert sorted(zip(splits.feature.tolist(), splits.threshold.tolist(), strict=True)) == expected
