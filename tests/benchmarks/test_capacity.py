"""What h2load's output says of a capacity."""

import pytest

from benchmarks.capacity import answered_rate

OUTPUT = """finished in 5.00s, 712.40 req/s, 298.75KB/s
requests: 3562 total, 3562 started, 3562 done, 3562 succeeded, 0 failed, 0 errored, 0 timeout
status codes: {answers} 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.46MB (1529578) total, 12.33KB (12630) headers (space savings 98.00%), {data} ({data}) data
"""


def test_a_run_of_answers_has_a_rate():
    """100 rows of one float32 each, and what is around them."""
    assert answered_rate(OUTPUT.format(answers=3562, data=3562 * 460), 100) == 712.4


@pytest.mark.parametrize("refused", [1.0, 0.5, 0.05])
def test_a_run_with_refusals_has_none(refused):
    """A refusal has no data, so the mean size of an answer falls below that of its rows."""
    data = round(3562 * 400 * (1 - refused))
    assert answered_rate(OUTPUT.format(answers=3562, data=data), 100) is None


@pytest.mark.parametrize("output", ["", "h2load: no server", OUTPUT.format(answers=0, data=0)])
def test_a_run_without_answers_has_none(output):
    """A run that failed is no measurement."""
    assert answered_rate(output, 100) is None
