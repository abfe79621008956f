"""Both engines over the socket: nobody can see which one ran a batch, and a forest that is wrong runs none."""

import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from onnxpress.packages.digests import digest_of
from onnxpress.packages.package import FOREST_FILE
from onnxpress.protos import inference_pb2 as pb
from onnxpress.server.versions.forests import DIFFERENT
from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, connected, decode, request, same
from tests.model_repository import Models, deploy_on_disk, edit_manifest
from tests.packages.forest.planted import with_a_wrong_leaf
from tests.server_process import ServerProcess

pytestmark = pytest.mark.kernel

SIZES = (1, 2, 7, 16, 33, 128, 1000)
CALLERS = 8


def engine_of(server: ServerProcess) -> str:
    with connected(server.grpc) as stub:
        config = stub.ModelConfig(pb.ModelConfigRequest(name="heavy"), timeout=DEADLINE_S).config
    return config.parameters["engine"].string_value


def metric(server: ServerProcess) -> list[str]:
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=DEADLINE_S) as page:
        return re.findall(
            r'^onnxpress_forest_batch_rows_min{model="heavy",version="1"} (\d+)', page.read().decode(), re.MULTILINE
        )


@pytest.mark.parametrize("front", FRONTS)
def test_every_batch_has_the_bits_of_its_rows_alone(front: str, models: Models, tmp_path: Path) -> None:
    """Calls of 1 to 1,000 rows from several callers, alone and mixed: each row as ONNX Runtime answers it by itself."""
    models.copy(tmp_path, "heavy")
    answers, rows = models.answers("heavy/1"), number_rows(1200, seed=9)
    each = [answers({"input": rows[n : n + 1]}) for n in range(len(rows))]
    expected = {name: np.concatenate([one[name] for one in each]) for name in answers.names}
    with ServerProcess(tmp_path, "--latency-target-ms", "60000", front=front).ready() as server:
        smallest = re.fullmatch(r"compiled forest from batch size (\d+) on", engine_of(server))
        assert smallest is not None
        assert int(smallest[1]) <= 33, "the forest is cheaper at some of the sizes below"
        assert metric(server) == [smallest[1]]

        def calls(seed: int) -> int:
            rng, wrong = np.random.default_rng(seed), 0
            with connected(server.grpc) as stub:
                for size in rng.permutation(np.repeat(SIZES, 6)).tolist():
                    start = int(rng.integers(len(rows) - size + 1))
                    part = slice(start, start + size)
                    answer = stub.ModelInfer(request({"input": rows[part]}, "heavy"), timeout=DEADLINE_S)
                    wrong += not same(decode(answer), {name: array[part] for name, array in expected.items()})
            return wrong

        with ThreadPoolExecutor(CALLERS) as pool:
            assert list(pool.map(calls, range(CALLERS))) == [0] * CALLERS


def test_a_wrong_forest_runs_nothing(models: Models, tmp_path: Path) -> None:
    """A forest with one wrong bit and a fitting digest: the server logs the row and answers with ONNX Runtime."""
    models.copy(tmp_path, "heavy")
    package = tmp_path / "heavy/1"
    wrong = with_a_wrong_leaf((package / FOREST_FILE).read_bytes())
    (package / FOREST_FILE).write_bytes(wrong)

    def recorded(manifest):
        manifest.files[FOREST_FILE].sha256, manifest.files[FOREST_FILE].bytes = digest_of(wrong), len(wrong)

    edit_manifest(package, recorded)
    deploy_on_disk(tmp_path, "heavy", live=1)
    rows = number_rows(500, seed=9)
    with ServerProcess(tmp_path).ready() as server:
        assert engine_of(server) == f"ONNX Runtime ({DIFFERENT})"
        assert metric(server) == []
        with connected(server.grpc) as stub:
            answer = stub.ModelInfer(request({"input": rows}, "heavy"), timeout=DEADLINE_S)
        assert same(decode(answer), models.answers("heavy/1")({"input": rows}))
        log = server.log
    assert f"model 'heavy' version 1: {DIFFERENT}: row " in log
