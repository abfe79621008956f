"""The candidate answers copies: what is compared, what is chosen, and what is dropped so that nobody waits."""

from pathlib import Path

import numpy as np
import pytest

from onnxpress.server.rollouts.copies import Copies
from onnxpress.server.rollouts.pairs import Pairs
from onnxpress.server.rollouts.shadow import PATIENCE_S, Plan, Shadow, shadow_salt
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import CHAMPION, PLACES, place
from tests.e2e import candidates
from tests.server.rollouts.lanes import BATCH_ROWS, MODEL, lane, outputs
from tests.server.rollouts.reports import ran

SALT = shadow_salt(b"m/1")


class Bench:
    """A live version that is good, a candidate of `kind`, and a clock that only waiting moves."""

    def __init__(self, folder: Path, kind: str, share: float = 1.0, rows_max: int = 20_000) -> None:
        self.live, self.candidate = lane(folder, 1, "good"), lane(folder, 2, kind)
        self.copies, self.seconds, self.busy = Copies(rows_max), 0.0, False
        self.shadow = Shadow(self.copies, lambda: self.busy, clock=lambda: self.seconds, wait=self._wait)
        self.follow(share)

    def _wait(self, seconds: float) -> None:
        self.seconds += seconds

    def follow(self, share: float) -> None:
        self.shadow.follow({MODEL: Plan(self.live, self.candidate, share, SALT)})
        self.shadow.work()

    def answer(self, x: np.ndarray, keys: list[str] | None = None) -> None:
        """The live version answers a call of one row for each row."""
        self.copies.run_done(ran(self.live, [CHAMPION] * len(x), outputs(self.live, x), {"x": x}, keys=keys or []))


def test_copies_are_compared(tmp_path: Path) -> None:
    """In joined runs: each row once, and no difference between equal versions."""
    bench = Bench(tmp_path, "good")
    for number in range(10):
        bench.answer(candidates.rows(number, 16))
    bench.shadow.work()
    assert bench.shadow.calls(MODEL) == 160
    copied = bench.shadow.take(MODEL)
    assert (copied.arm.calls, copied.arm.checked, copied.arm.errors, copied.arm.invalid) == (160, 160, 0, 0)
    assert (copied.pairs, copied.dropped, len(copied.scores)) == (Pairs(160), 0, 160)
    assert bench.shadow.take(MODEL).arm.calls == 0


def test_runs_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the rows of the candidate's batches, since a run has a price of its own."""
    bench, sizes = Bench(tmp_path, "good"), []
    run = bench.candidate.session.run
    monkeypatch.setattr(bench.candidate.session, "run", lambda feeds, rows: (sizes.append(rows), run(feeds, rows))[1])
    for number in range(20):
        bench.answer(candidates.rows(number, 10))
    bench.shadow.work()
    assert sum(sizes) == 200
    assert max(sizes) <= BATCH_ROWS
    assert len(sizes) == 4


def test_a_heavy_candidate_runs_briefly(tmp_path: Path) -> None:
    """Half a millisecond of a core at most, by the forecast; a call that comes meanwhile waits no longer."""
    bench, joined = Bench(tmp_path, "good"), []
    bench.candidate.cost.curve.update({1: 100.0})
    bench.candidate.cost.micros = lambda rows: 100.0 * rows  # type: ignore[method-assign]
    run = bench.candidate.session.run
    bench.candidate.session.run = lambda feeds, rows: (joined.append(rows), run(feeds, rows))[1]  # type: ignore[method-assign]
    for number in range(8):
        bench.answer(candidates.rows(number, 1))
    bench.shadow.work()
    assert joined == [4, 4]


def test_the_faults_of_a_candidate(tmp_path: Path) -> None:
    """Errors and NaN are the candidate's where the live version answered; rows with other labels are kept."""
    x = candidates.rows(5, 400)
    failing = Bench(tmp_path / "failing", "failing")
    failing.answer(x)
    failing.shadow.work()
    failed = int((x[:, 1] > candidates.FAILING).sum())
    copied = failing.shadow.take(MODEL)
    assert (copied.arm.calls, copied.arm.errors, copied.arm.checked) == (400, failed, 400 - failed)
    assert copied.pairs.rows == 400 - failed
    invalid = Bench(tmp_path / "invalid", "invalid")
    invalid.answer(x)
    invalid.shadow.work()
    assert invalid.shadow.take(MODEL).arm.invalid == int((x[:, 1] > candidates.INVALID).sum()) > 0
    exchanged = Bench(tmp_path / "exchanged", "exchanged")
    exchanged.answer(x)
    exchanged.shadow.work()
    pairs = exchanged.shadow.take(MODEL).pairs
    assert pairs.flips == pairs.rows == 400
    assert pairs.largest == pytest.approx(float(np.abs(1 - 2 * x[:, 0]).max()))
    assert all(row.flipped for row in exchanged.shadow.rows(MODEL))
    assert len(exchanged.shadow.rows(MODEL)) == 20


def test_one_row_of_a_thousand(tmp_path: Path) -> None:
    """A single row that differs is found, and kept with what was asked and answered."""
    bench, x = Bench(tmp_path, "invalid"), candidates.rows(6, 1000)
    x[:, 1] = 0.5
    x[417, 1] = 1.0
    for start in range(0, 1000, 8):
        bench.answer(x[start : start + 8])
    bench.shadow.work()
    (row,) = bench.shadow.rows(MODEL)
    assert row.inputs == {"x": x[417].tolist()}
    assert row.champion["score"] == [x[417, 0]]
    assert np.isnan(row.candidate["score"]).all()


def test_a_share_is_chosen_by_key(tmp_path: Path) -> None:
    """At 30 % exactly the keys whose place is below it; without keys about as many."""
    bench = Bench(tmp_path, "good", share=0.3)
    keys = [f"customer-{number}" for number in range(1000)]
    bench.answer(candidates.rows(7, 1000), keys)
    bench.shadow.work()
    inside = sum(place(SALT, key.encode()) < 0.3 * PLACES for key in keys)
    assert bench.shadow.take(MODEL).arm.calls == inside
    assert 250 < inside < 350
    for number in range(100):
        bench.answer(candidates.rows(number, 100))
    bench.shadow.work()
    assert bench.shadow.take(MODEL).arm.calls == pytest.approx(3000, abs=200)  # more than four standard deviations


def test_calls_go_before_copies(tmp_path: Path) -> None:
    """While calls wait copies do, a quarter of a second at most; then they are dropped and counted, and fewer made."""
    bench = Bench(tmp_path, "good")
    bench.busy = True
    bench.answer(candidates.rows(8, 32))
    bench.shadow.work()
    assert bench.seconds >= PATIENCE_S
    copied = bench.shadow.take(MODEL)
    assert (copied.arm.calls, copied.dropped) == (0, 32)
    fewer = bench.shadow.share(MODEL)
    assert fewer < 1.0
    bench.busy = False
    keys = [f"customer-{number}" for number in range(500)]
    bench.shadow.work()
    bench.answer(candidates.rows(9, 500), keys)
    bench.shadow.work()
    assert 0 < bench.shadow.take(MODEL).arm.calls < 500
    for _ in range(100):
        bench.shadow.work()
    assert bench.shadow.share(MODEL) == 1.0


def test_what_had_no_room_is_counted(tmp_path: Path) -> None:
    """More copies than are kept: the rest is dropped, and the share falls."""
    bench = Bench(tmp_path, "good", rows_max=20)
    for number in range(5):
        bench.answer(candidates.rows(number, 8))
    bench.shadow.work()
    copied = bench.shadow.take(MODEL)
    assert (copied.arm.calls, copied.dropped) == (16, 24)
    assert bench.shadow.share(MODEL) < 1.0


def test_nothing_is_copied_without_a_plan(tmp_path: Path) -> None:
    """After a rollout, and to a candidate that takes other inputs: then the reason is told."""
    bench = Bench(tmp_path, "good")
    bench.shadow.follow({})
    bench.shadow.work()
    bench.answer(candidates.rows(1, 8))
    assert bench.copies.take() == ([], {})
    dependent = Lane(MODEL, 3, bench.candidate.session, "d", bench.candidate.contract, bench.candidate.cost)
    dependent.signature = type(dependent.signature)(dependent.signature.inputs, dependent.signature.outputs, "a mean")
    bench.shadow.follow({MODEL: Plan(bench.live, dependent, 1.0, SALT)})
    bench.shadow.work()
    bench.answer(candidates.rows(1, 8))
    bench.shadow.work()
    assert (bench.shadow.calls(MODEL), bench.shadow.share(MODEL)) == (0, 0.0)
    assert "depend" in bench.shadow.unanswerable(MODEL)
