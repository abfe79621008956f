"""The locust shape that conducts the test: it plans the load, gathers the samples of every process, and judges them.

locust's own shapes change the number of users. Here users are connections, whose number is constant, and the shape
changes what they send.
"""

import sys
import time
from typing import Any

import gevent
from locust import LoadTestShape
from locust.runners import MasterRunner

from onnxpress.loadtests.admin import Swapper, check_ready
from onnxpress.loadtests.errors import UnreachableError, UsageError
from onnxpress.loadtests.generator.plan import Plan
from onnxpress.loadtests.measure.samples import unpack
from onnxpress.loadtests.measure.tally import Tally, Usage
from onnxpress.loadtests.report.progress import progress_line
from onnxpress.loadtests.report.result import Result
from onnxpress.loadtests.settings import Settings
from onnxpress.loadtests.verdict.slo import Exit, invalid_reasons, phase_checks
from onnxpress.loadtests.workload.shapes import Phase, Step, Trial, next_step, schedule, steady

PLAN_MESSAGE = "onnxpress-plan"
LOCAL = "local"  # the name of the only process, where locust has forked none
LOOK_SECONDS = 0.1
PROGRESS_SECONDS = 1.0
LEAD_SECONDS = 0.5  # between a plan's announcement and its first request
PAUSE_SECONDS = 1.0  # between two steps of a ramp, so that the queues of the last one are empty
CONNECT_SECONDS_MAX = 20.0
GRACE_SECONDS = 10.0  # beyond the last deadline, for a process to report
CONFIRMING_MARGIN = 1.1  # planned samples of a confirming step over those needed: arrivals are random


class Conductor:
    """One test, from its first plan to its result. Its state belongs to the greenlet of the locust shape."""

    def __init__(self, settings: Settings, runner: Any) -> None:
        self.settings = settings
        self.tally = Tally(settings.kinds, keep=settings.suite == "swap")
        self.trials: list[Trial] = []
        self.result: Result | None = None
        self.problem = ""
        self.swapper = Swapper(settings, self.now) if settings.suite == "swap" else None
        self._runner = runner
        self._zero = 0.0
        self._number = -1
        self._end = 0.0
        self._finished: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._began = time.monotonic()
        self._generator_limit = 0.0  # the lowest rate at which the generator exceeded its limits; 0: none
        self._step: Step | None = None

    def __repr__(self) -> str:
        return f"Conductor({self.settings.suite}, plan {self._number}, {len(self.tally.phases)} phases)"

    @property
    def processes(self) -> list[str]:
        if isinstance(self._runner, MasterRunner):
            return sorted(self._runner.clients.keys())
        return [LOCAL]

    @property
    def connections(self) -> int:
        """The number of connections, rounded up to a multiple of the number of processes."""
        count = max(len(self.processes), 1)
        return -(-self.settings.connections // count) * count

    def now(self) -> float:
        return time.monotonic() - self._zero

    def hear(self, told: dict[str, Any]) -> None:
        """Adds the report of one generator process."""
        name = str(told["process"])
        if "gone" in told:
            self.problem = str(told["gone"])
            return
        self._users[name] = int(told["users"])
        self.tally.messages.update(told["messages"])
        if self._number < 0:
            return
        self.tally.add(unpack(told["columns"]))
        self.tally.usage.append(Usage(name, float(told["at"]), float(told["cpu"])))
        self.tally.add_observation_delays(float(told["at"]), told["observation_delays"])
        self._finished[name] = int(told["finished"])

    def go_on(self) -> bool:
        """Plans the next load where the last is finished; False when the test is over."""
        if self.problem:
            return False
        if self._number < 0:
            if sum(self._users.values()) < self.connections:
                if time.monotonic() - self._began < CONNECT_SECONDS_MAX:
                    return True
                self.problem = f"only {sum(self._users.values())} of {self.connections} connections were made"
                return False
            return self._plan_first()
        self.tally.close(self.now() - self.settings.deadline - GRACE_SECONDS)
        waiting = [name for name in self.processes if self._finished.get(name, -1) < self._number]
        if waiting and self.now() < self._end + self.settings.deadline + GRACE_SECONDS:
            return True
        return self._plan_next_step() if self.settings.suite == "ramp" else False

    def _plan_first(self) -> bool:
        self._zero = time.monotonic() + LEAD_SECONDS
        if self.settings.suite == "ramp":
            return self._plan_next_step()
        self._announce(self.settings.phases())
        if self.swapper:
            self.swapper.start(self.settings.warmup, self._end)
        return True

    def _plan_next_step(self) -> bool:
        if self._step:
            self.trials.append(self._judge_step(self._step))
        settings = self.settings
        self._step = next_step(self.trials, settings.rps, settings.rps_max, settings.resolution)
        if not self._step:
            return False
        rate, warmup = self._step.rate, 0.0 if self.trials else settings.warmup
        seconds = settings.duration
        if self._step.confirming:
            seconds = max(seconds, settings.validity.samples_min / rate * CONFIRMING_MARGIN)
        begin = 0.0 if not self.trials else self.now() + PAUSE_SECONDS
        name = f"{'confirming' if self._step.confirming else 'step'} {len(self.trials) + 1}: {rate:.0f}/s"
        phases = steady(rate, seconds, warmup, name)
        self._announce(tuple(Phase(**{**vars(phase), "start": begin + phase.start}) for phase in phases))
        return True

    def _judge_step(self, step: Step) -> Trial:
        index = len(self.tally.phases) - 1
        phase, window = self.tally.phases[index], self.tally.by_phase[index]
        held = all(check.held for check in phase_checks(phase, window, self.settings.objectives))
        found = invalid_reasons(self.tally, [index], self.settings.validity, self.settings.objectives)
        # A step has few samples. Only the confirming one needs the full number.
        if [reason for reason in found if "too few" not in reason]:
            self._generator_limit = min(self._generator_limit or step.rate, step.rate)
            held = False
        return Trial(step.rate, held, step.confirming)

    def _announce(self, phases: tuple[Phase, ...]) -> None:
        self._number += 1
        seed = self.settings.seed + self._number
        self.tally.plan(phases, [len(schedule([phase], self.settings.arrivals, seed)) for phase in phases])
        self._end = phases[-1].end
        positions = {name: position for position, name in enumerate(self.processes)}
        plan = Plan(self._number, self._zero, phases, self.connections, positions)
        self._runner.send_message(PLAN_MESSAGE, plan.as_message())

    def progress(self) -> str:
        return progress_line(self.settings, self.tally, self.now(), self._end)

    def conclude(self, interrupted: str = "") -> Result:
        """The result, made once. `interrupted`: why the test ended before its time."""
        if self.result is None:
            if self.swapper:
                self.swapper.stop()
            extra = [interrupted] if interrupted else []
            if self.problem:
                extra.append(self.problem)
            swaps = self.swapper.swaps if self.swapper else []
            first = self.swapper.first if self.swapper else 0
            self.result = Result.make(
                self.settings,
                self.tally,
                trials=self.trials,
                swaps=swaps,
                first=first,
                extra=extra,
                generator_limit=self._generator_limit,
            )
        return self.result


class LoadShape(LoadTestShape):  # type: ignore[misc] # locust has no types that mypy may follow
    """Tells locust the number of users; None ends the test."""

    conductor: Conductor | None = None

    def tick(self) -> tuple[int, float] | None:
        """The first call asks for the users, the second conducts the test to its end.

        locust calls once a second only, and a plan should not wait for that.
        """
        environment = self.runner.environment
        try:
            if self.conductor is None:
                self.conductor = begin(environment, self.runner)
                return self.conductor.connections, float(self.conductor.connections)
            self.conduct(self.conductor, progress=environment.parsed_options.progress)
            environment.process_exit_code = int(self.conductor.conclude().publish())
        except (UsageError, UnreachableError) as error:
            environment.process_exit_code = int(Exit.USAGE if isinstance(error, UsageError) else Exit.BROKEN)
            sys.stderr.write(f"onnxpress loadtest: {error}\n")
        return None

    @staticmethod
    def conduct(conductor: Conductor, *, progress: bool) -> None:
        shown = time.monotonic()
        while conductor.go_on():
            gevent.sleep(LOOK_SECONDS)
            if progress and time.monotonic() - shown >= PROGRESS_SECONDS:
                shown = time.monotonic()
                sys.stderr.write(conductor.progress())
                sys.stderr.flush()

    def reset_time(self) -> None:
        """A test that is started again from locust's web page has its own conductor."""
        super().reset_time()
        self.conductor = None


def begin(environment: Any, runner: Any) -> Conductor:
    """Raises UsageError and UnreachableError before a single request is sent."""
    settings: Settings = environment.settings_of_test()
    check_ready(settings)
    return Conductor(settings, runner)
