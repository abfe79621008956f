"""An identical version is not blamed: the batches of a real server, shuffled in blocks and dealt to two versions."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

import onnxpress
from onnxpress.server.rollouts.collector import Counter, Pair, Ran
from onnxpress.server.rollouts.controller import TICK_S, WINDOW_CALLS, WINDOW_S
from onnxpress.server.rollouts.guards import Guards
from onnxpress.server.serving.lane import Lane
from onnxpress.server.versions.loader import Loader
from tests.e2e import candidates
from tests.e2e.test_rollouts import MODEL, begin, plan
from tests.inference_calls import DEADLINE_S, connected, request
from tests.model_repository import deploy_on_disk
from tests.server_process import ServerProcess

PLANTED = (sys.executable, "-m", "tests.e2e.planted_server", "recorded batches")
BURST_MAX, ROWS_MAX = 60, 8
Tick = list[tuple[int, int, int, list[bytes]]]  # of each run: rows, calls, nanoseconds, outputs


def burst_calls(address: str, seconds: float) -> None:
    """Single calls and bursts of many at once, of one or several rows, in turns of random length."""
    chance = np.random.default_rng(21)
    messages = [request({"x": candidates.rows(size, size)}, MODEL) for size in range(1, ROWS_MAX + 1)]
    end = monotonic() + seconds
    with connected(address) as stub:
        while monotonic() < end:
            for size in chance.integers(0, ROWS_MAX, chance.integers(1, BURST_MAX)):
                stub.ModelInfer(messages[size], timeout=DEADLINE_S)
            burst = [messages[size] for size in chance.integers(0, ROWS_MAX, chance.integers(1, BURST_MAX))]
            for call in [stub.ModelInfer.future(message, timeout=DEADLINE_S) for message in burst]:
                call.result()


def recorded(folder: Path, seconds: float) -> list[Tick]:
    """What the controller of a real server was told, tick by tick, in a rollout of an identical version."""
    for version in (1, 2):
        candidates.write(folder, MODEL, version, "good")
    deploy_on_disk(folder, MODEL, live=1)
    file = folder / "batches"
    flags = ("--latency-target-ms", "1000")
    with ServerProcess(folder, *flags, command=PLANTED, environment={"BATCHES_FILE": str(file)}) as server:
        begin(server.ready(), plan(50, baking_s=3600))
        burst_calls(server.grpc, seconds)
        server.kill()
    ticks = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        [(rows, calls, took, [bytes.fromhex(flat) for flat in outputs]) for rows, calls, took, outputs in tick]
        for tick in ticks
        if tick
    ]


@dataclass
class Dealer:
    """Deals recorded batches to two versions, of which the second is identical, or slower by `slower_ns`."""

    champion: Lane
    candidate: Lane
    slower_ns: int = 0

    def windows(self, ticks: Sequence[Tick], weight: float, chance: np.random.Generator) -> Iterator[Guards]:
        """The guards after each window, which the controller's rule ends."""
        counter, guards = Counter(Pair(2, self.champion, self.candidate)), Guards()
        seconds = 0.0
        for tick in ticks:
            calls = counter.add([self._ran(one, mine) for one, mine in zip(tick, chance.random(len(tick)) < weight)])  # noqa: B905
            seconds += TICK_S
            if seconds >= WINDOW_S or calls >= WINDOW_CALLS:
                guards.add(counter.close(seconds))
                yield guards
                seconds = 0.0

    def _ran(self, one: tuple[int, int, int, list[bytes]], mine: np.bool_) -> Ran:
        rows, calls, took, outputs = one
        lane = self.candidate if mine else self.champion
        return Ran(lane.id, calls, rows, took + self.slower_ns * bool(mine), outputs or None, None)

    def blamed(self, ticks: Sequence[Tick], block: int, seed: int) -> bool:
        """Whether any guard convicts in a rollout through these ticks, in blocks of a random order."""
        chance = np.random.default_rng(seed)
        blocks = [ticks[start : start + block] for start in range(0, len(ticks), block)]
        shuffled = [tick for number in chance.permutation(len(blocks)) for tick in blocks[number]]
        weight = (0.1, 0.5)[seed % 2]
        return any(one.convicts for guards in self.windows(shuffled, weight, chance) for one in guards.readings())


@pytest.mark.parametrize(
    ("seconds", "block_s", "rollouts"),
    [(8, 0.5, 30), pytest.param(60, 2.0, 1000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_an_identical_version_is_not_blamed(seconds: int, block_s: float, rollouts: int, tmp_path: Path) -> None:
    """In no rollout of real batches of bursts, at 10 and at 50 %; the same version slower by 30 ms is in each."""
    ticks = recorded(tmp_path, seconds)
    load = partial(Loader(1000, 1024).load)
    lanes = [load(onnxpress.load(tmp_path / MODEL / str(version))) for version in (1, 2)]
    assert sum(len(tick) for tick in ticks) > 50 * seconds
    block = round(block_s / TICK_S)
    identical = Dealer(*lanes)
    assert sum(identical.blamed(ticks, block, seed) for seed in range(rollouts)) == 0
    slower = Dealer(*lanes, slower_ns=30_000_000)
    assert all(slower.blamed(ticks, block, seed) for seed in range(4))
