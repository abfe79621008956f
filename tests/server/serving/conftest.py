"""The pump's bench, for both ways that calls take."""

import pytest

from tests.server.serving.bench import Bench


@pytest.fixture(params=[False, True], ids=["each alone", "uniform batches"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(alike=request.param)
