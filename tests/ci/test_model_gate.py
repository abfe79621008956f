"""The gate signs a good model off and refuses broken ones, each at its own stage."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from onnx import TensorProto, helper

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 240
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
    """80 dense layers of 1,000: milliseconds a row, which no batching makes fast."""
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


def command(folder: Path, before: str = "", damage: str = "") -> Path:
    """`onnxpress` as a script; `before` one of its commands it first runs the shell command `damage`."""
    script = folder / "onnxpress"
    plant = f'[ "$1" = "{before}" ] && {damage}\n' if before else ""
    script.write_text(f'#!/bin/sh\n{plant}exec "{sys.executable}" -m onnxpress "$@"\n')
    script.chmod(0o755)
    return script


def gate(folder: Path, model: Path, rows: Path, *flags: str, onnxpress: Path | None = None) -> tuple[int, str, Any]:
    """(exit code, what it printed last, signoff.json)."""
    out = folder / "gate"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHON": sys.executable,
        "ONNXPRESS": str(onnxpress or command(folder)),
    }
    run = subprocess.run(
        [ROOT / "ci" / "model_gate.sh", model, rows, "tiny", out, *flags],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    signoff = out / "signoff.json"
    return run.returncode, run.stdout + run.stderr, json.loads(signoff.read_text()) if signoff.exists() else None


def stages(signoff: Any) -> dict[str, str]:
    return {stage["stage"]: stage["status"] for stage in signoff["stages"]}


def test_a_good_model_is_signed_off(good, tmp_path):
    """Every stage passes, and the sign-off names the bytes that were tested."""
    code, said, signoff = gate(tmp_path, *good, *LOAD, *PATIENT)
    assert code == 0, said
    assert signoff["verdict"] == "signed off"
    assert stages(signoff) == dict.fromkeys(("convert", "verify", "serve", "load"), "passed")
    manifest = json.loads((tmp_path / "gate/models/tiny/1/manifest.json").read_text())
    assert signoff["sha256"]["model.onnx"] == manifest["files"]["model.onnx"]["sha256"]
    assert signoff["load_test"]["answered"] == signoff["load_test"]["due"] > 100
    assert (tmp_path / "gate/report/report.html").exists()


def test_a_model_that_cannot_be_converted_fails_at_convert(good, tmp_path):
    """A pickle that nobody vouched for is refused before it is read."""
    pickle = tmp_path / "model.pkl"
    pickle.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    code, said, signoff = gate(tmp_path, pickle, good[1], *LOAD)
    assert code == 1, said
    assert stages(signoff) == {"convert": "failed"}
    assert "trust-pickle" in signoff["stages"][0]["reason"]


def test_a_package_that_was_changed_fails_at_verify(good, tmp_path):
    """One byte more in the model file after its conversion, and its digest tells."""
    model = tmp_path / "gate/models/tiny/1/model.onnx"
    onnxpress = command(tmp_path, "verify", f'printf x >> "{model}"')
    code, said, signoff = gate(tmp_path, *good, *LOAD, onnxpress=onnxpress)
    assert code == 1, said
    assert stages(signoff) == {"convert": "passed", "verify": "failed"}
    assert "digest" in signoff["stages"][1]["reason"]


def test_a_model_that_misses_its_objectives_fails_at_the_load_test(good, tmp_path):
    """Held to 50 µs, which no network call meets: the sign-off names the objective."""
    code, said, signoff = gate(tmp_path, *good, *LOAD, *PATIENT, "--p50-ms", "0.05")
    assert code == 1, said
    assert stages(signoff) == {"convert": "passed", "verify": "passed", "serve": "passed", "load": "failed"}
    assert [check["name"] for check in signoff["load_test"]["broken"]] == ["p50"]
    assert "steady: p50" in signoff["stages"][-1]["reason"]


@pytest.mark.long
def test_a_slow_model_fails_at_the_load_test(good, tmp_path):
    """Exact and intact, but far too slow for the rate: the sign-off names the broken objectives."""
    slow = slow_model(tmp_path / "slow.onnx")
    code, said, signoff = gate(tmp_path, slow, good[1], "--rps", "900", *LOAD[2:])
    assert code == 1, said
    assert stages(signoff) == {"convert": "passed", "verify": "passed", "serve": "passed", "load": "failed"}
    assert signoff["verdict"] == "refused"
    assert {check["name"] for check in signoff["load_test"]["broken"]} & {"refusals", "p99", "throughput reached"}


@pytest.mark.long
def test_a_package_that_the_server_refuses_fails_at_serve(good, tmp_path):
    """Changed between verify and serve: the server does not load what it cannot believe."""
    model = tmp_path / "gate/models/tiny/1/model.onnx"
    onnxpress = command(tmp_path, "serve", f'printf x >> "{model}"')
    code, said, signoff = gate(tmp_path, *good, *LOAD, onnxpress=onnxpress)
    assert code == 1, said
    assert stages(signoff) == {"convert": "passed", "verify": "passed", "serve": "failed"}
    assert "digest" in signoff["stages"][2]["reason"]


@pytest.mark.long
def test_a_measurement_without_enough_samples_is_no_sign_off(good, tmp_path):
    """200 requests carry no p99: exit 4, neither signed off nor refused."""
    code, said, signoff = gate(tmp_path, *good, "--rps", "100", "--duration", "2", *PATIENT)
    assert code == 4, said
    assert signoff["verdict"] == "invalid"
    assert "samples" in signoff["stages"][-1]["reason"]


def test_a_missing_file_is_a_usage_error(good, tmp_path):
    """Nothing is begun with a model that is not there."""
    code, said, signoff = gate(tmp_path, tmp_path / "nowhere.ubj", good[1])
    assert code == 2
    assert "no file" in said
    assert signoff is None
