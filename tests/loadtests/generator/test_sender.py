"""The sender and the locust process that started it: what happens to each when the other ends."""

import signal
import subprocess
import sys
import time

import msgpack
import psutil

from onnxpress.loadtests import cli
from onnxpress.loadtests.generator.plan import Plan
from onnxpress.loadtests.workload.shapes import steady
from tests.loadtests.conftest import ENVIRONMENT, SECONDS_MAX, SHORT, finish, wait_until_steady

LONG = ("--rps", "200", "--duration", "60", *[flag for flag in SHORT if flag != "--headless"])


def sending(process) -> psutil.Process:
    """The sender of a load test, once its load is under way."""
    wait_until_steady(process)
    (sender,) = psutil.Process(process.pid).children()
    return sender


def test_a_sender_that_dies_makes_the_measurement_invalid(proof, begin):
    """kill -9 of the sender ends the test at once, with its reason; what was measured until then is reported."""
    process, folder = begin("steady", proof("--live", "1"), *LONG)
    sending(process).kill()
    run = finish(process, folder)
    assert run.exit == 4, run.out
    assert "generator process local ended with exit code -9" in run.report["invalid_reasons"]
    assert run.report["total"]["answered"] > 0


def test_a_sender_ends_with_its_locust_process(proof, begin):
    """kill -9 of the locust process ends its sender."""
    process, _ = begin("steady", proof("--live", "1"), *LONG)
    sender = sending(process)
    process.kill()
    assert psutil.wait_procs([sender], SECONDS_MAX)[1] == []
    process.communicate()


def test_an_interrupted_test_ends_its_sender_and_says_so(proof, begin):
    """SIGINT to both, as a terminal sends it, is one invalid reason; the end of the sender is not another one."""
    process, folder = begin("steady", proof("--live", "1"), *LONG)
    sender = sending(process)
    sender.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    run = finish(process, folder)
    assert run.exit == 4, run.out
    assert "interrupted before its time" in run.report["invalid_reasons"]
    assert not any("ended with exit code" in reason for reason in run.report["invalid_reasons"])
    assert not sender.is_running()
    assert "Traceback" not in run.err, run.err


def test_one_sender_carries_out_one_test_after_another(proof, repository):
    """A second test, as from locust's web page, starts afresh although the first was not finished."""
    words = ["steady", "--target", proof("--live", "1").target, "--package", str(repository / "churn" / "1")]
    given = vars(cli.parsed(words))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-m", "onnxpress.loadtests.generator.sender"], env=ENVIRONMENT, stdin=pipe, stdout=pipe
    ) as sender:
        reports = msgpack.Unpacker(max_buffer_size=0)

        def tell(**message: object) -> None:
            sender.stdin.write(msgpack.packb(message))
            sender.stdin.flush()

        def reported(test: int) -> dict:
            while True:
                for report in reports:
                    if report["test"] == test:
                        return report
                reports.feed(sender.stdout.read1(65_536))

        for test, seconds, whole in ((1, 600, False), (2, 1, True)):
            tell(test=test, name="local", options=given)
            tell(open=1)
            tell(open=1)
            while (report := reported(test))["users"] != 2:
                pass
            plan = Plan(0, time.monotonic(), steady(200, seconds, 0, "steady"), 2, {"local": 0})
            tell(plan=plan.as_message())
            answered = 0
            while report["finished"] != 0 and (whole or not answered):
                report = reported(test)
                answered += len(report["columns"]["outcome"])
            tell(stop=1)
        assert 150 < answered < 250
        sender.stdin.close()
        assert sender.wait(SECONDS_MAX) == 0
