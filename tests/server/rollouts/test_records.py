"""Recorded windows as lines: nothing is lost on the way, damage is seen, and merging keeps every count."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpress.server.rollouts.records import (
    LINE_MAX,
    Entry,
    Header,
    entry_of,
    header_of,
    lost,
    merged_in_pairs,
    to_line,
)
from onnxpress.server.rollouts.windows import BINS, Arm, Window
from onnxpress.server.versions.rollout import RolloutAction
from tests.server.rollouts.recorded import served

HEADER = Header("churn", 8, "c0ffee", "beef")
COUNT = st.integers(0, 10**9)
ARMS = st.builds(
    Arm, **dict.fromkeys(("calls", "errors", "refused", "checked", "invalid", "runs", "slow_q90"), COUNT),
    bins=st.tuples(*[COUNT] * BINS),
)  # fmt: skip
WINDOWS = st.builds(Window, ARMS, ARMS, COUNT, COUNT)
SECONDS = st.floats(0, 1e10, allow_nan=False)
ENTRIES = st.builds(
    Entry, st.integers(1, 10**9), SECONDS, st.integers(0, 20), COUNT, SECONDS, SECONDS, st.booleans(),
    st.sampled_from(["", *(action.value for action in RolloutAction)]), st.tuples(SECONDS, SECONDS), COUNT, WINDOWS,
)  # fmt: skip


@given(ENTRIES)
def test_a_line_holds_the_window(entry: Entry) -> None:
    """Every count and time, bit for bit."""
    line = to_line(entry)
    assert line.count(b"\n") == 1
    assert entry_of(line) == entry


def test_a_header_names_the_packages() -> None:
    """The model, the rollout, and the digests of both versions."""
    assert header_of(to_line(HEADER)) == HEADER


def test_lines_of_other_releases() -> None:
    """What is unknown is ignored, what is missing has its default."""
    line = b'{"seq":3,"shade":1,"window":{"candidate":{"calls":2,"colour":"red"},"agreed":7}}\n'
    assert entry_of(line) == Entry(seq=3, window=Window(candidate=Arm(calls=2)))


def test_numbers_of_numpy_are_numbers() -> None:
    """Counts come out of arrays."""
    entry = Entry(1, window=Window(Arm(calls=np.int64(3))))  # type: ignore[arg-type]
    assert entry_of(to_line(entry)).window.champion.calls == 3


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b'{"seq":1}',
        b'{"seq":1,"wind\n',
        b"[]\n",
        b'{"seq":"1"}\n',
        b'{"seq":true}\n',
        b'{"window":[]}\n',
        b'{"window":{"candidate":{"calls":-1}}}\n',
        b'{"window":{"candidate":{"calls":1.5}}}\n',
        b'{"window":{"candidate":{"bins":[1,2]}}}\n',
        b'{"window":{"candidate":{"bins":7}}}\n',
        b'{"action":"explode"}\n',
        b"\xff\xfe\n",
        b"[" * 50_000 + b"\n",
        b'{"seq":1,"x":"' + b"x" * LINE_MAX + b'"}\n',
    ],
)
def test_damaged_lines_are_refused(line: bytes) -> None:
    """Each kind of damage, whatever it is, is a ValueError."""
    with pytest.raises(ValueError, match=r"torn|expected|unknown|nested|Expecting|decode|Invalid|Unterminated"):
        entry_of(line)


@pytest.mark.parametrize("without", ["format", "model", "rollout", "champion", "candidate"])
def test_a_header_must_be_whole(without: str) -> None:
    """Without one of its fields nobody knows of what the windows are."""
    told = json.loads(to_line(HEADER))
    del told[without]
    with pytest.raises(ValueError, match=r"missing|expected"):
        header_of(json.dumps(told).encode() + b"\n")


@given(st.lists(st.builds(replace, ENTRIES, step=st.integers(0, 2), paused=st.booleans()), max_size=12))
def test_merging_keeps_every_count(entries: list[Entry]) -> None:
    """The sums of each step are the same, actions keep their place, and no step runs into the next."""
    merged = merged_in_pairs(entries)
    for step in range(3):
        before = [entry.window for entry in entries if entry.step == step]
        after = [entry.window for entry in merged if entry.step == step]
        assert sum(before, Window()) == sum(after, Window())
    assert [entry.action for entry in merged if entry.action] == [entry.action for entry in entries if entry.action]
    assert sum(entry.merged for entry in merged) == sum(entry.merged for entry in entries)


def test_merging_halves() -> None:
    """A file that is too large becomes half as large."""
    entries = served(1, 40)
    assert len(merged_in_pairs(entries)) == 20


def test_lost_windows_are_counted() -> None:
    """Between two windows, and before the first; merged windows are not lost."""
    entries = served(1, 40)
    assert lost(entries) == lost(merged_in_pairs(merged_in_pairs(entries))) == 0
    assert lost([*entries[2:10], *entries[15:]]) == 7
