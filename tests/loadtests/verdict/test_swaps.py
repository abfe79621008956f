"""Which version may answer around a hot swap, on hand-made answers."""

import numpy as np
import pytest

from onnxpress.loadtests.measure.answers import Outcome
from onnxpress.loadtests.measure.samples import Samples
from onnxpress.loadtests.verdict.swaps import Swap, analyse

SWAP = Swap(version=2, begin=10.0, end=11.0)


def answers(*rows: tuple[float, float, int]) -> Samples:
    """(sent, done, version) each."""
    sent, done, version = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    kind = np.zeros(len(sent), np.uint16)
    outcome = np.full(len(sent), Outcome.OK, np.uint8)
    return Samples(sent, sent, done, kind, outcome, version.astype(np.uint64))


@pytest.mark.parametrize(
    ("sent", "done", "version", "breaches"),
    [
        (5.0, 5.1, 1, 0),  # before the swap, the old one
        (5.0, 5.1, 2, 1),  # before Deploy was called, nobody can know the new one
        (9.9, 10.2, 2, 0),  # in flight when the swap began
        (10.5, 10.6, 1, 0),  # during the swap either may answer
        (10.5, 10.6, 2, 0),
        (10.9, 11.5, 1, 0),  # left before Deploy returned
        (11.1, 11.2, 1, 1),  # left after it: the old one is a breach
        (11.1, 11.2, 2, 0),
        (11.1, 11.2, 3, 1),  # nobody deployed it
    ],
)
def test_the_barrier_by_when_a_request_left_and_was_answered(sent, done, version, breaches):
    """No request sent after Deploy returned may get the old version, and none answered before the call the new one."""
    assert analyse(answers((sent, done, version)), [SWAP], first=1).breaches == breaches


def test_an_old_answer_after_a_new_one_is_a_flip():
    """Within a swap, a request sent after an answer of the new version arrived must not get the old one."""
    seen = answers((10.1, 10.2, 2), (10.3, 10.4, 1))
    report = analyse(seen, [SWAP], first=1)
    assert (report.flips, report.breaches) == (1, 0)
    together = answers((10.1, 10.3, 2), (10.2, 10.4, 1))
    assert analyse(together, [SWAP], first=1).flips == 0


def test_swaps_back_and_forth_each_have_their_own_barrier():
    """1 to 2 and back to 1: version 2 is stale after the second, version 1 is not."""
    back = Swap(version=1, begin=20.0, end=21.0)
    assert analyse(answers((21.5, 21.6, 1), (15.0, 15.1, 2)), [SWAP, back], first=1).breaches == 0
    assert analyse(answers((21.5, 21.6, 2), (15.0, 15.1, 1)), [SWAP, back], first=1).breaches == 2


def test_a_failed_swap_changes_nothing():
    """After a refused Deploy the old version may go on answering."""
    refused = Swap(version=2, begin=10.0, end=11.0, problem="ABORTED")
    assert analyse(answers((11.5, 11.6, 1)), [refused], first=1).breaches == 0
    assert analyse(answers((11.5, 11.6, 2)), [refused], first=1).breaches == 1


def test_the_p99_around_swaps_is_compared_with_the_p99_elsewhere():
    """Requests of 30 ms around the swap and of 10 ms elsewhere are a ratio of three."""
    around = [(10.0 + index / 100, 10.03 + index / 100, 2) for index in range(50)]
    elsewhere = [(index / 100, index / 100 + 0.01, 1) for index in range(500)]
    assert analyse(answers(*around, *elsewhere), [SWAP], first=1).ratio() == pytest.approx(3, rel=0.01)
