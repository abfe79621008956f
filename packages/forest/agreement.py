"""Whether a forest answers as ONNX Runtime does, bit for bit, in batches of every size that its kernel treats apart."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.bits import same_bits

# One row, fewer rows than lanes, just as many, some more, and several chunks.
BATCHES: Final = (1, 2, 7, 16, 33, 128, 1000)

Feeds = Mapping[str, NDArray[Any]]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Disagreement:
    """A row to which the engines answer differently, in a batch of `batch` rows."""

    row: int
    batch: int
    output: int
    expected: NDArray[Any]  # the row's answer by ONNX Runtime
    actual: NDArray[Any]

    def __str__(self) -> str:
        said = f"ONNX Runtime says {self.expected.tolist()}, the compiled forest {self.actual.tolist()}"
        return f"row {self.row} in a batch of {self.batch}: {said}"


def in_turn(rows: int) -> Iterator[Indices]:
    """Batches that cover all rows at least once, of every size of BATCHES in turn."""
    start = 0
    for size in cycle(BATCHES):
        if start >= rows:
            return
        yield np.arange(start, start + size) % rows
        start += size


def of_each_size(rows: int) -> Iterator[Indices]:
    """Batches that cover all rows at least once for each size of BATCHES."""
    for size in BATCHES:
        for start in range(0, rows, size):
            yield np.arange(start, start + size) % rows


def first_disagreement(
    run: Callable[[Feeds], Sequence[NDArray[Any]]],
    feeds: Feeds,
    answers: Sequence[NDArray[Any]],
    batches: Iterable[Indices],
) -> Disagreement | None:
    """Runs `batches` of the rows of `feeds`.

    `answers`: ONNX Runtime's to the same rows, in the order of the outputs of `run`. Raises RunError.
    """
    for batch in batches:
        given = run({name: array[batch] for name, array in feeds.items()})
        for output, (whole, actual) in enumerate(zip(answers, given, strict=True)):
            expected = whole[batch]
            if (expected.shape, expected.dtype) != (actual.shape, actual.dtype):
                return Disagreement(int(batch[0]), len(batch), output, expected[0], actual)
            same = same_bits(expected, actual)
            if not same.all():
                place = int(same.argmin())
                return Disagreement(int(batch[place]), len(batch), output, expected[place], actual[place])
    return None
