"""The locust entry: `locust -f loadtests/locustfile.py --suite steady --package models/churn/1 --target HOST:PORT`.

`onnxpress loadtest` runs this file too, so that both measure and judge the same.
"""

import gc
from typing import Any

import gevent
from locust import events
from locust.runners import MasterRunner, WorkerRunner

from loadtests.bench import PLAN_MESSAGE, SAMPLES_MESSAGE, Bench, flush_forever, probe_forever
from loadtests.conductor import LOCAL, LoadShape
from loadtests.errors import UsageError
from loadtests.plan import Plan, pools
from loadtests.settings import Settings, add_arguments, settings_of
from loadtests.slo import Exit
from loadtests.transport import start_gevent
from loadtests.users import OpenLoopUser

__all__ = ["LoadShape", "OpenLoopUser"]  # what locust looks for in a locustfile


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def declare_arguments(parser: Any) -> None:
    group = parser.add_argument_group("onnxpress load test")
    group.add_argument("--suite", default="steady", help="which load to make")
    group.add_argument("--progress", action="store_true", help="a line of progress on standard error")
    add_arguments(group)


@events.init.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Any, runner: Any, **_: Any) -> None:
    """Ties this process to the others; runs after locust has forked its workers."""
    start_gevent(environment.parsed_options.connections)
    environment.bench = None

    def settings_of_test() -> Settings:
        return settings_of(environment.parsed_options)

    def hear(msg: Any, **_: Any) -> None:
        if environment.shape_class.conductor:
            environment.shape_class.conductor.hear(msg.data)

    def take_plan(msg: Any, **_: Any) -> None:
        environment.bench.take(Plan.of_message(msg.data))

    environment.settings_of_test = settings_of_test
    if not isinstance(runner, WorkerRunner):
        runner.register_message(SAMPLES_MESSAGE, hear)
    if not isinstance(runner, MasterRunner):
        runner.register_message(PLAN_MESSAGE, take_plan)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def make_bench(environment: Any, **_: Any) -> None:
    """Encodes the payloads and begins to report, in every process that has users."""
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        return
    try:
        settings = environment.settings_of_test()
        name = runner.client_id if isinstance(runner, WorkerRunner) else LOCAL
        environment.bench = Bench(settings, name, pools(settings))
    except UsageError as error:
        raise SystemExit(f"loadtest: {error}") from error
    # What exists now stays: a full collection in the middle would stop the generator, not the server.
    gc.collect()
    gc.freeze()
    environment.reporters = [
        gevent.spawn(flush_forever, environment.bench, runner),
        gevent.spawn(probe_forever, environment.bench),
    ]


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def stop_reporting(environment: Any, **_: Any) -> None:
    for reporter in getattr(environment, "reporters", ()):
        reporter.kill()


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def conclude(environment: Any, **_: Any) -> None:
    """A test that was interrupted says so: it held nothing."""
    conductor = getattr(environment.shape_class, "conductor", None)
    if conductor and conductor.result is None and environment.process_exit_code is None:
        code = conductor.conclude("interrupted before its time").publish()
        environment.process_exit_code = int(Exit.INVALID if code is Exit.HELD else code)
