"""Runs a family's compiled model directly, without `convert` and its gate."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters import sample as rows_of
from onnxpress.converters.family import Family, Subject
from onnxpress.converters.graph.builder import Graph
from onnxpress.converters.runtime import Session

Answers = dict[str, NDArray[Any]]
BATCHES = (1, 2, 49, 50, 51, 128, 129)


def opened(family: Family, model: Any, sample: Any, layout: str = "auto") -> Subject:
    return family.open(model, rows_of.frame_of(sample), layout)


def compiled(family: Family, model: Any, sample: Any, layout: str = "auto") -> tuple[Subject, Session]:
    subject = opened(family, model, sample, layout)
    return subject, Session(subject.compile().SerializeToString())


def run_compiled(family: Family, model: Any, sample: Any, rows: Any, layout: str = "auto") -> Answers:
    """The compiled model's outputs on `rows`, which are typed as clients send them."""
    subject, session = compiled(family, model, sample, layout)
    frame = rows_of.typed(rows_of.frame_of(rows), subject.schema)
    return session.run(rows_of.feeds(frame, subject.schema))


def run(graph: Graph, **feeds: NDArray[Any]) -> Answers:
    return Session(graph.model().SerializeToString()).run(feeds)


def differs_by_batch(graph: Graph, rows: NDArray[Any]) -> list[int]:
    """The batch sizes at which any bit of `output` differs from that in one run of all rows."""
    session = Session(graph.model().SerializeToString())
    whole = session.run({"input": rows})["output"]

    def parts(size: int) -> NDArray[Any]:
        starts = range(0, len(rows), size)
        return np.concatenate([session.run({"input": rows[start : start + size].copy()})["output"] for start in starts])

    return [size for size in BATCHES if parts(size).tobytes() != whole.tobytes()]


def around(values: Any) -> NDArray[np.float32]:
    """The float32 values at each of `values`, just above and just below."""
    at = np.asarray(values, np.float64).astype(np.float32)
    return np.concatenate([at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf))])


def one_column_moves(base: pd.DataFrame, column: str, values: NDArray[Any]) -> pd.DataFrame:
    """Rows of `base`, cycled, with `column` set to each of the values."""
    picked = base.iloc[np.arange(len(values)) % len(base)].reset_index(drop=True)
    return picked.assign(**{column: values})
