"""The paired bootstrap: both versions are judged on the same resampled rows, so what rows have in common cancels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxpress.ci.comparison.metrics import Floats, Metric, Statistic

RESAMPLES, SEED, CONFIDENCE = 2000, 20, 0.95
CHUNK_ELEMENTS = 1 << 20  # of a matrix of counts: 8 MiB
# A metric may be undefined on some resamples, as if a class was not drawn; with more than this share there is no
# interval, since what is left would be a selection.
UNDEFINED_MAX = 0.01


@dataclass(frozen=True)
class Paired:
    """A metric of both versions."""

    metric: Metric
    champion: Statistic
    challenger: Statistic

    def gain(self, counts: Floats) -> Floats:
        return self.metric.gain(self.champion(counts), self.challenger(counts))


@dataclass(frozen=True)
class Gain:
    """Both versions' values, the gain (positive where the challenger is better), and the ends of its interval.

    low and high are NaN where there is no interval.
    """

    champion: float
    challenger: float
    gain: float
    low: float
    high: float


def resample(
    pairs: Sequence[Paired],
    rows: int,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    tell: Callable[[int], None] = lambda _done: None,
) -> Floats:
    """The gain of each pair on each resample: [pairs, resamples]. `tell` gets the number of resamples done so far."""
    generator = np.random.default_rng(seed)
    gains = np.empty((len(pairs), resamples))
    done = 0
    while done < resamples:
        size = min(max(1, CHUNK_ELEMENTS // rows), resamples - done)
        counts = _draw(generator, size, rows)
        for place, pair in enumerate(pairs):
            gains[place, done : done + size] = pair.gain(counts)
        done += size
        tell(done)
    return gains


def _draw(generator: np.random.Generator, resamples: int, rows: int) -> Floats:
    """How often each row is drawn: [resamples, rows], each resample with replacement and of `rows` rows."""
    drawn: NDArray[np.int64] = generator.integers(0, rows, size=(resamples, rows))
    drawn += np.arange(resamples)[:, None] * rows
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


def gain_of(pair: Paired, rows: int, gains: Floats, confidence: float = CONFIDENCE) -> Gain:
    """The gain on all rows, with the two-sided percentile interval of `gains` [resamples]."""
    once = np.ones((1, rows))
    champion, challenger = pair.champion(once), pair.challenger(once)
    defined = gains[np.isfinite(gains)]
    low = high = np.nan
    if len(defined) >= (1 - UNDEFINED_MAX) * len(gains):
        low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    gain = pair.metric.gain(champion, challenger)
    return Gain(float(champion[0]), float(challenger[0]), float(gain[0]), float(low), float(high))
