"""A rollout from its recorded windows: the same decisions, and the evidence that a restarted server goes on with."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxpress.server.rollouts.guards import Guards
from onnxpress.server.rollouts.records import Entry, entry_of, merged_in_pairs, to_line
from onnxpress.server.rollouts.replay import replay, restored
from onnxpress.server.rollouts.windows import Window
from onnxpress.server.versions.rollout import RolloutAction
from tests.server.rollouts.recorded import ROLLOUT, rollout_of, served, window


@pytest.mark.parametrize(
    ("failing", "actions"),
    [(0.0, [RolloutAction.ADVANCE, RolloutAction.PROMOTE]), (0.3, [RolloutAction.ROLL_BACK])],
)
def test_a_replay_decides_the_same(failing: float, actions: list[RolloutAction]) -> None:
    """Action, sentence and numbers, after the windows went through a file."""
    entries = served(3, 400, failing)
    replayed = list(replay(ROLLOUT, [entry_of(to_line(entry)) for entry in entries]))
    assert all(one.as_made for one in replayed)
    assert [one.decision.action for one in replayed if one.decision.action] == actions
    assert list(replay(ROLLOUT, entries)) == replayed


def test_a_replay_notices_another_decision() -> None:
    """A recorded rollback without evidence of harm is not what the windows say."""
    entries = served(3, 30)
    forged = [*entries[:-1], Entry(30, step_s=30.0, action="roll-back", window=entries[-1].window)]
    assert [one.as_made for one in replay(ROLLOUT, forged)] == [True] * 29 + [False]


def test_a_paused_rollout_replays() -> None:
    """Windows in which nothing could advance are not read as if it could."""
    entries = [replace(entry, step_s=400.0, paused=True) for entry in served(3, 400)]
    assert {one.decision.reason for one in replay(ROLLOUT, entries)} == {"paused"}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 200), st.sampled_from([0.0, 0.02]))
def test_a_restart_changes_nothing(seed: int, cut: int, failing: float) -> None:
    """At whatever window: the evidence and the calls of the step go on as if there had been none."""
    entries = served(seed, 220, failing)
    cut = min(cut, len(entries))
    before = list(replay(ROLLOUT, entries))[cut - 1]
    guards = restored(rollout_of(entries[:cut]), entries[:cut])
    assert guards.readings() == list(before.readings)
    assert guards.step_calls == before.step_calls


def test_a_step_shows_the_absence_of_harm_anew() -> None:
    """Also after a restart in the middle of the second step: only its own windows clear it."""
    entries = served(3, 400)
    second = [entry for entry in entries if entry.step == 1]
    alone = Guards()
    for entry in second:
        alone.add(entry.window)
    guards = restored(ROLLOUT, entries)
    assert guards.step_calls == alone.step_calls
    # The champion's base rate comes from both steps, so the absence is nearly the same.
    pairs = zip(guards.readings(), alone.readings(), strict=True)
    assert all(one.absence == pytest.approx(two.absence, abs=0.5) for one, two in pairs if one.absence is not None)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_windows_merge_in_any_order(seeds: list[int], chance: object) -> None:
    """Replicas may count one second in any number of parts: the merged window is the same, and so is the evidence."""
    parts = [window(np.random.default_rng(seed), 0.1) for seed in seeds]
    shuffled = list(parts)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    split = len(parts) // 2
    nested = sum(shuffled[:split], Window()) + sum(shuffled[split:], Window())
    merged = sum(parts, Window())
    assert nested == merged
    one, two = Guards(), Guards()
    for guards, told in ((one, merged), (two, nested)):
        guards.add(window(np.random.default_rng(1)))
        guards.add(told)
    assert one.readings() == two.readings()


@pytest.mark.parametrize("failing", [0.0, 0.03])
def test_merged_windows_say_nearly_the_same(failing: float) -> None:
    """What a file that became too large keeps is within a tenth of what it had, and convicts the same."""
    entries = [Entry(seq, window=window(np.random.default_rng(seq), failing)) for seq in range(1, 301)]
    whole = restored(ROLLOUT, entries).readings()
    merged = restored(ROLLOUT, merged_in_pairs(entries)).readings()
    for one, two in zip(whole, merged, strict=True):
        assert two.evidence == pytest.approx(one.evidence, rel=0.1, abs=1.0)
        assert two.convicts == one.convicts
        assert (two.excess, two.text) == (one.excess, one.text)
