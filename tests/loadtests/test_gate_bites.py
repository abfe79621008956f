"""Faults planted in a server, each found by the objective that must find it."""

import json
import shutil
import socket
import subprocess

import pytest

from onnxpress.loadtests.measure.latency import Latencies
from tests.loadtests.conftest import SHORT, ProofServer, finish, wait_until_steady
from tests.loadtests.packages_made import write_package

RATE = ("--rps", "200", "--duration", "2")


def test_a_good_server_is_held(proof, loadtest):
    """A correct server: exit 0, every request accounted for, every objective held."""
    run = loadtest("steady", proof("--live", "1"), *RATE)
    assert run.exit == 0, run.out
    total = run.report["total"]
    assert total["answered"] == total["due"] > 400
    assert run.report["versions"] == [{"model": "churn", "version": 1, "answers": run.report["versions"][0]["answers"]}]
    assert not run.broken()
    assert run.err == "", "a headless run is silent"


def test_a_server_stopped_for_a_second_shows_every_request_that_waited(proof, begin):
    """SIGSTOP for 1 s at 300/s: about 300 requests spread over 0 to 1,000 ms, not one per connection."""
    server = proof("--live", "1")
    flags = [flag for flag in SHORT if flag != "--headless"]
    process, folder = begin(
        "steady", server, *flags, "--rps", "300", "--duration", "5", "--arrivals", "constant", "--p99-ms", "500"
    )
    wait_until_steady(process)
    pid = server.process.pid
    subprocess.run(["sh", "-c", f"kill -STOP {pid}; sleep 1; kill -CONT {pid}"], check=True)
    run = finish(process, folder)
    assert run.exit == 1, run.out
    assert "p99" in run.broken()
    assert run.report["total"]["errors"] == 0
    histogram = Latencies.decode(run.report["total"]["hdr"]).histogram
    slow = dict.fromkeys((100, 250, 500, 750), 0)
    for item in histogram.get_recorded_iterator():
        for low in sorted(slow, reverse=True):
            if item.value_iterated_to >= low * 1000:
                slow[low] += item.count_added_in_this_iter_step
                break
    # 75 of 300 fall into each quarter; the queue's own draining moves some upwards.
    assert 220 <= sum(slow.values()) <= 600, slow
    assert all(slow[low] >= 45 for low in (250, 500)), slow
    assert slow[750] >= 45, slow
    assert 950 <= run.report["total"]["max_ms"] <= 2500


def test_80_ms_more_break_the_latency_objectives(proof, loadtest):
    """+80 ms against objectives of 60 ms: all three percentiles are broken, and nothing else."""
    limits = ("--p50-ms", "60", "--p95-ms", "60", "--p99-ms", "60")
    run = loadtest("steady", proof("--live", "1", "--delay-ms", "80"), *RATE, *limits)
    assert run.exit == 1, run.out
    assert run.broken() == {"p50", "p95", "p99"}
    assert run.check("p50", "steady")["measured"] >= 80


def test_exchanged_classes_are_wrong_answers(proof, loadtest):
    """Every hundredth answer has its classes exchanged: well-formed, sums to one, and still found."""
    run = loadtest("steady", proof("--live", "1", "--wrong", "exchanged"), *RATE)
    assert run.exit == 1, run.out
    assert run.broken() == {"wrong answers", "error rate", "throughput reached"}
    assert run.check("wrong answers", "steady")["measured"] >= 3


def test_a_version_that_vanishes_fails_the_error_rate(proof, loadtest):
    """NOT_FOUND from some moment on: errors, with the server's own words in the report."""
    run = loadtest("steady", proof("--live", "1", "--drop-after", "5"), "--rps", "200", "--duration", "6")
    assert run.exit == 1, run.out
    assert {"error rate", "throughput reached"} <= run.broken()
    assert "wrong answers" not in run.broken()
    assert any("has no version 1" in message for message, _ in run.report["messages"])


@pytest.mark.long
def test_answers_of_another_version_than_the_package_are_found(proof, loadtest):
    """Version 1 was asked for by its package, version 2 answers: right in itself, and not what is being released."""
    run = loadtest("steady", proof("--live", "2"), *RATE)
    assert run.exit == 1, run.out
    assert "answers by unexpected versions" in run.broken()


def test_a_barrier_that_leaks_is_found(proof, loadtest):
    """After a swap every fiftieth answer is by the old version: breaches, though every answer is right in itself."""
    flags = ("--rps", "200", "--duration", "5", "--swap-every", "1.5")
    run = loadtest("swap", proof("--live", "1", "--stale"), *flags, versions=(1, 2))
    assert run.exit == 1, run.out
    assert "barrier breaches" in run.broken()
    assert "wrong answers" not in run.broken()
    assert len(run.report["swaps"]) >= 2


@pytest.mark.long
def test_clean_swaps_are_held(proof, loadtest):
    """Swaps that keep the barrier pass, and both versions have answered."""
    flags = ("--rps", "200", "--duration", "5", "--swap-every", "1.5")
    run = loadtest("swap", proof("--live", "1"), *flags, versions=(1, 2))
    # On busy cores a swap's window may hold all the noise: that one ratio is judged on quiet machines only.
    assert run.broken() <= {"p99 around swaps over p99 elsewhere"}, run.out
    assert {each["version"] for each in run.report["versions"]} == {1, 2}
    page = (run.folder / "report.html").read_text()
    assert page.count("swap to ") >= 2 * len(run.report["swaps"])


@pytest.mark.parametrize("rude", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_spike_may_be_refused_politely_only(proof, loadtest, rude):
    """Above capacity, RESOURCE_EXHAUSTED with a retry time is a right answer; without one it is an error."""
    faults = ("--live", "1", "--capacity", "6", "--delay-ms", "20", *(("--rude",) if rude else ()))
    flags = ("--rps", "60", "--duration", "6", "--factors", "10", "--arrivals", "constant")
    run = loadtest("spike", proof(*faults), *flags)
    outcomes = {phase["name"]: phase["outcomes"] for phase in run.report["phases"]}
    spike = outcomes["spike 10x"]
    if rude:
        assert run.exit == 1
        assert spike["RUDE"] > 100
        assert run.check("error rate", "spike 10x")["measured"] > 0.05
    else:
        assert run.check("error rate", "spike 10x")["held"], run.out
        assert spike["REFUSED"] > 100
        assert set(spike) == {"OK", "REFUSED"}


@pytest.mark.long
def test_a_ramp_finds_the_capacity_of_a_server_that_refuses_above_it(proof, loadtest):
    """Ten calls at once of 50 ms each are 200/s at most: the ramp ends below that and well above nothing."""
    faults = ("--live", "1", "--capacity", "10", "--delay-ms", "50")
    flags = ("--rps", "40", "--duration", "1.5", "--resolution", "0.3", "--arrivals", "constant")
    run = loadtest("ramp", proof(*faults), *flags)
    assert run.exit == 0, run.out
    assert 40 <= run.report["ramp"]["capacity"] <= 205
    assert any(not trial["held"] for trial in run.report["ramp"]["trials"])
    assert "capacity:" in run.out


@pytest.mark.long
def test_streams_and_mixed_are_checked_like_unary_calls(proof, loadtest):
    """A wrong answer on a stream is found as well, and row counts up to 1,000 come back whole."""
    streams = loadtest("streams", proof("--live", "1", "--wrong", "unnormalised"), *RATE)
    assert streams.exit == 1
    assert "wrong answers" in streams.broken()
    assert any("sum to 1" in message for message, _ in streams.report["messages"])
    mixed = loadtest("mixed", proof("--live", "1"), *RATE)
    assert mixed.report["total"]["errors"] == 0, mixed.out
    assert {kind["rows_each"] for kind in mixed.report["kinds"] if kind["answered"]} >= {1, 8, 64}


def test_too_few_samples_and_a_lagging_generator_are_invalid(proof, begin):
    """Too few samples for a p99, or a lag beyond its limit, is an invalid measurement: exit 4."""
    run = finish(*begin("steady", proof("--live", "1"), *RATE, "--headless", "--lag-p99-ms", "0.001"))
    assert run.exit == 4, run.out
    assert any("too few for a p99: 10000" in reason for reason in run.report["invalid_reasons"])
    assert any("the generator lags" in reason for reason in run.report["invalid_reasons"])


def test_nobody_home_is_one_clear_line(begin):
    """A server that does not answer fails the gate before a request is sent."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: nobody else answers there
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        run = finish(*begin("steady", ProofServer(None, address, address), *SHORT, *RATE))
    assert run.exit == 1
    assert run.err.strip().splitlines() == [f"onnxpress loadtest: no gRPC server answers at {address} within 5 s"]


@pytest.mark.long
def test_the_baseline_is_compared(proof, loadtest, tmp_path):
    """A later run shows its figures beside those of the stored one."""
    server = proof("--live", "1")
    first = loadtest("steady", server, *RATE)
    baseline = tmp_path / "baseline.json"
    shutil.copy(first.folder / "report.json", baseline)
    second = loadtest("steady", server, *RATE, "--baseline", str(baseline))
    assert "Compared with the baseline" in (second.folder / "report.html").read_text()
    assert "baseline" not in json.loads((second.folder / "report.json").read_text())


@pytest.mark.long
def test_a_wrong_golden_answer_is_found_on_every_version(proof, loadtest, tmp_path, repository):
    """Golden rows find a server that answers otherwise than the package, although its answers are well-formed."""
    other = tmp_path / "other"
    write_package(other, 2)
    shutil.move(other / "churn" / "2", other / "churn" / "1")
    manifest = other / "churn" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "2"', '"version": "1"'))
    run = loadtest("steady", proof("--live", "1"), *RATE, f"--package={other / 'churn' / '1'}", versions=())
    assert run.exit == 1, run.out
    assert "wrong answers" in run.broken()
    assert any("golden row" in message for message, _ in run.report["messages"])
