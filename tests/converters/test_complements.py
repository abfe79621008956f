"""The second class of a binary booster is one minus the first: it is rounded near one, not near zero."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier

from onnxpress.converters.from_lightgbm import family as from_lightgbm
from onnxpress.converters.from_xgboost import family as from_xgboost
from onnxpress.protos.package_pb2 import Layout

ROWS = np.random.default_rng(3).normal(size=(400, 3)).astype(np.float32)
SURE = 1e-2


@pytest.mark.parametrize(
    ("family", "model"),
    [
        (from_xgboost.FAMILY, XGBClassifier(n_estimators=200, n_jobs=1)),
        (from_lightgbm.FAMILY, LGBMClassifier(n_estimators=200, n_jobs=1, verbose=-1)),
    ],
)
def test_complement_of_a_small_probability_may_be_one_float32_apart(family: Any, model: Any) -> None:
    """However small one probability is, the other's tolerance is at least the gap between two float32 beside one."""
    model.fit(ROWS, ROWS[:, 0] > 0)
    frame = pd.DataFrame(ROWS, columns=["f0", "f1", "f2"])
    subject = family.open(model, frame, Layout.MATRIX)
    answer = subject.answer(frame.astype(np.float64))
    small = answer.outputs["probabilities"][:, 1] < SURE
    assert small.any()
    assert (answer.tolerance["probabilities"][small, 0] >= np.spacing(np.float32(0.5))).all()
