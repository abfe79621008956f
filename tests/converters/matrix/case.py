"""One configuration of the conversion matrix: a trained model, its rows, and the expected result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Sample = pd.DataFrame | NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One configuration. `build` trains it with a fixed seed in well under a second."""

    id: str  # "XGBClassifier, DART, 3 classes": also its row in docs/conversion.md
    build: Callable[[], tuple[Any, Sample]]
    # A substring of the refusal's message; empty: must convert exactly.
    refused: str = ""
    # The reason in a sentence for docs/conversion.md, if `refused` alone does not explain it.
    why: str = ""
    layout: str = "auto"
    # Reference answers for the check: rows (a frame named like the sample) -> output -> answers. None: `predict_proba`
    # and `predict` if the model has both, else `predict`.
    predict: Callable[[Any, pd.DataFrame], dict[str, NDArray[Any]]] | None = None
    # Largest difference allowed by the runner, relative to the largest |answer| of the original.
    tolerance: float = 1e-5
    # Whether the short form of the matrix includes it.
    short: bool = False


def classified(model: Any, rows: Any) -> dict[str, NDArray[Any]]:
    """The answers of a scikit-learn classifier."""
    return {"label": np.asarray(model.predict(rows)), "probabilities": np.asarray(model.predict_proba(rows))}


def predicted(model: Any, rows: Any) -> dict[str, NDArray[Any]]:
    """The answers of a scikit-learn regressor or ranker."""
    answers = np.asarray(model.predict(rows), dtype=np.float64)
    return {"prediction": answers.reshape(len(answers), -1)}
