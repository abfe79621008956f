"""The stages of the gate on real models: a good one passes all, each broken one fails at its own stage."""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from onnx import TensorProto, helper

from onnxpress.ci.gate import Request, stages
from onnxpress.ci.signoff import Stage, read_report

LOAD = ("--rps", "100", "--duration", "2", "--samples-min", "50", "--lag-p99-ms", "2000", "--cpu-max", "2")
PATIENT = ("--p50-ms", "1000", "--p95-ms", "1500", "--p99-ms", "1900")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small model that converts exactly, and its training rows."""
    folder = tmp_path_factory.mktemp("good")
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32), columns=list("abcde"))
    model = xgboost.XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1, random_state=0)
    model.fit(rows, (rows.a + rows.b * rows.c > 0).astype(int)).save_model(folder / "good.ubj")
    rows.to_csv(folder / "rows.csv", index=False)
    return folder / "good.ubj", folder / "rows.csv"


def slow_model(path: Path) -> Path:
    """80 dense layers of 1,000: milliseconds a row, with or without batching."""
    weights = (np.random.default_rng(0).normal(size=(1000, 1000)) * 0.03).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["input", "first"], ["h0"])]
    for layer in range(80):
        nodes.append(helper.make_node("MatMul", [f"h{layer}", "w"], [f"m{layer}"]))
        nodes.append(helper.make_node("Tanh", [f"m{layer}"], [f"h{layer + 1}"]))
    nodes.append(helper.make_node("ReduceMean", ["h80", "axes"], ["prediction"], keepdims=1))
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 5])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True),
            helper.make_tensor("first", TensorProto.FLOAT, (5, 1000), weights[:5].tobytes(), raw=True),
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, path)
    return path


def command(folder: Path, before: str, damage: str) -> list[Path]:
    """`onnxpress` as a script that runs the shell command `damage` before its command `before`."""
    script = folder / "onnxpress"
    plant = f'[ "$1" = "{before}" ] && {damage}'
    script.write_text(f'#!/bin/sh\n{plant}\nexec "{sys.executable}" -m onnxpress "$@"\n')
    script.chmod(0o755)
    return [script]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one run of the gate."""
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


def outcomes(run: list[Stage]) -> dict[str, bool]:
    return {stage.name: stage.passed for stage in run}


def test_a_good_model_passes_every_stage(good, out):
    """Convert, verify, serve and load test pass in this order, and leave their logs and a report."""
    run = list(stages(Request(*good, "tiny", out, load_flags=(*LOAD, *PATIENT))))
    assert outcomes(run) == dict.fromkeys(("convert", "verify", "serve", "load"), True), run
    assert {stage.reason for stage in run} == {""}
    assert {log.stem for log in out.glob("*.log")} == {"convert", "verify", "server", "load"}
    total = read_report(out)["total"]
    assert total["answered"] == total["due"] > 100


def test_a_model_that_cannot_be_converted_fails_at_convert(good, out):
    """A pickle is refused without --trust-pickle, before it is read."""
    pickle = out / "model.pkl"
    pickle.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    run = list(stages(Request(pickle, good[1], "tiny", out)))
    assert outcomes(run) == {"convert": False}
    assert "trust-pickle" in run[0].reason


def test_flags_of_the_conversion_reach_it(good, out):
    """`convert_flags` are part of the command line of `onnxpress convert`, here one that it does not have."""
    run = list(stages(Request(*good, "tiny", out, convert_flags=("--no-such-flag",))))
    assert outcomes(run) == {"convert": False}
    assert run[0].exit == 2
    assert "--no-such-flag" in run[0].reason


def test_a_package_that_was_changed_fails_at_verify(good, out):
    """One byte more in the model file after its conversion is found by its digest."""
    onnxpress = command(out, "verify", f'printf x >> "{out}/models/tiny/1/model.onnx"')
    run = list(stages(Request(*good, "tiny", out), onnxpress))
    assert outcomes(run) == {"convert": True, "verify": False}
    assert "digest" in run[1].reason


@pytest.mark.long
def test_a_package_that_the_server_refuses_fails_at_serve(good, out):
    """A file that is changed between verify and serve is found by the server, whose error is the reason."""
    onnxpress = command(out, "serve", f'printf x >> "{out}/models/tiny/1/model.onnx"')
    run = list(stages(Request(*good, "tiny", out), onnxpress))
    assert outcomes(run) == {"convert": True, "verify": True, "serve": False}
    assert "digest" in run[2].reason


def test_a_conversion_that_writes_nothing_fails_at_verify(good, out):
    """A command that exits with 0 and writes no package is not signed off."""
    script = out / "onnxpress"
    script.write_text(f'#!/bin/sh\n[ "$1" = convert ] || exec "{sys.executable}" -m onnxpress "$@"\n')
    script.chmod(0o755)
    run = list(stages(Request(*good, "tiny", out), [script]))
    assert outcomes(run) == {"convert": True, "verify": False}


def test_a_model_that_misses_its_objectives_fails_at_the_load_test(good, out):
    """Held to 50 µs, which no network call meets: the reason names the objective."""
    run = list(stages(Request(*good, "tiny", out, load_flags=(*LOAD, *PATIENT, "--p50-ms", "0.05"))))
    assert outcomes(run) == {"convert": True, "verify": True, "serve": True, "load": False}
    assert run[-1].exit == 1
    assert "steady: p50" in run[-1].reason


@pytest.mark.long
def test_a_slow_model_fails_at_the_load_test(good, out):
    """Exact and intact, but far too slow for the rate: the reason names the broken objectives."""
    slow = slow_model(out / "slow.onnx")
    run = list(stages(Request(slow, good[1], "tiny", out, load_flags=("--rps", "900", *LOAD[2:]))))
    assert outcomes(run) == {"convert": True, "verify": True, "serve": True, "load": False}
    broken = {check["name"] for check in read_report(out)["checks"] if not check["held"]}
    assert broken & {"refusals", "p99", "throughput reached"}


@pytest.mark.long
def test_a_measurement_without_enough_samples_is_invalid(good, out):
    """200 requests are too few for a p99: the load test's exit code is 4."""
    run = list(stages(Request(*good, "tiny", out, load_flags=("--rps", "100", "--duration", "2", *PATIENT))))
    assert run[-1].exit == 4
    assert "samples" in run[-1].reason
