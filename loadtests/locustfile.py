"""The locust entry: `locust -f loadtests/locustfile.py --suite steady --package models/churn/1 --target HOST:PORT`.

`onnxpress loadtest` runs this file too, so both measure and judge alike.
"""

import signal
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent  # type: ignore[import-not-found]
from locust import events
from locust.runners import MasterRunner, WorkerRunner

from onnxpress.loadtests.conductor import LOCAL, PLAN_MESSAGE, LoadShape
from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.generator.plan import pools
from onnxpress.loadtests.generator.sender_process import SAMPLES_MESSAGE, SenderProcess
from onnxpress.loadtests.generator.users import OpenLoopUser
from onnxpress.loadtests.settings import Settings, add_arguments, settings_of
from onnxpress.loadtests.verdict.slo import Exit
from onnxpress.loadtests.workload.payloads import GOLDEN_EVERY

__all__ = ["LoadShape", "OpenLoopUser"]  # what locust looks for in a locustfile


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def declare_arguments(parser: Any) -> None:
    group = parser.add_argument_group("onnxpress load test")
    group.add_argument("--suite", default="steady", help="which load to make")
    group.add_argument("--progress", action="store_true", help="a line of progress on standard error")
    add_arguments(group)


@events.init.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Any, runner: Any, **_: Any) -> None:
    """Connects this process with the others; runs after locust has forked its workers."""
    # Without this an interrupt is raised in whichever greenlet happens to run.
    gevent.signal_handler(signal.SIGINT, gevent.getcurrent().throw, KeyboardInterrupt)
    environment.sender = None
    if not isinstance(runner, MasterRunner):
        name = runner.client_id if isinstance(runner, WorkerRunner) else LOCAL
        environment.sender = SenderProcess(environment, runner, name)
    grpc_gevent.init_gevent()  # for the conductor's calls to the server

    def settings_of_test() -> Settings:
        return settings_of(environment.parsed_options)

    def hear(msg: Any, **_: Any) -> None:
        if environment.shape_class.conductor:
            environment.shape_class.conductor.hear(msg.data)

    def take_plan(msg: Any, **_: Any) -> None:
        environment.sender.take(msg.data)

    environment.settings_of_test = settings_of_test
    if not isinstance(runner, WorkerRunner):
        runner.register_message(SAMPLES_MESSAGE, hear)
    if not isinstance(runner, MasterRunner):
        runner.register_message(PLAN_MESSAGE, take_plan)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def begin_sending(environment: Any, **_: Any) -> None:
    if not environment.sender:
        return
    try:
        settings = environment.settings_of_test()
        pools(settings, size=GOLDEN_EVERY)  # the sender makes its own; an error is reported here
    except UsageError as error:
        raise SystemExit(f"onnxpress loadtest: {error}") from error
    environment.sender.begin(settings.kinds)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def stop_sending(environment: Any, **_: Any) -> None:
    if environment.sender:
        environment.sender.stop()


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def conclude(environment: Any, **_: Any) -> None:
    """An interrupted test is invalid unless its answers were wrong."""
    conductor = getattr(environment.shape_class, "conductor", None)
    if conductor and conductor.result is None and environment.process_exit_code is None:
        code = conductor.conclude("interrupted before its time").publish()
        environment.process_exit_code = int(Exit.INVALID if code is Exit.HELD else code)
    if environment.sender:
        environment.sender.end()
