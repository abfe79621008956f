"""The client while the server changes under it: swaps to another order of columns, and a rolling restart."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from onnxpress import Client
from onnxpress.client.errors import ClientError, RefusedError
from onnxpress.protos.package_pb2 import Manifest
from tests.answers import number_rows
from tests.client.both_clients import Connect, both
from tests.e2e.test_rolling_restart import free_port
from tests.inference_calls import DEADLINE_S, same
from tests.model_repository import Models, copy_version, deploy_on_disk, edit_manifest
from tests.server_process import ServerProcess

ROWS = 4
CALLERS = 4
# Answers that each version, or each process, must have given before the next change.
BUSY = 20


class Traffic:
    """Threads that share one client and ask for the same named rows again and again; counts answers by version."""

    def __init__(self, client: Client, frame: pd.DataFrame, expected: dict[int, dict[str, np.ndarray]]) -> None:
        self._client, self._frame, self._expected = client, frame, expected
        self._changed = threading.Condition()
        self._stop = False
        self.right: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._pool = ThreadPoolExecutor(CALLERS)
        self._loops = [self._pool.submit(self._loop) for _ in range(CALLERS)]

    def _loop(self) -> None:
        while not self._stop:
            try:
                result = self._client.infer("numbers", self._frame, timeout=DEADLINE_S)
            except ClientError as error:
                said = str(error)
            else:
                said = "" if same(result.outputs, self._expected[result.version]) else f"another answer of {result}"
            with self._changed:
                if said:
                    self.wrong.append(said)
                else:
                    self.right[result.version] += 1
                self._changed.notify_all()

    def wait_busy(self, *versions: int) -> None:
        """Until each version has answered BUSY more."""
        with self._changed:
            wanted = {version: self.right[version] + BUSY for version in versions}
            done = self._changed.wait_for(
                lambda: self.wrong or all(self.right[one] >= count for one, count in wanted.items()), DEADLINE_S
            )
        assert not self.wrong, self.wrong[:3]
        assert done, f"not all answer: {self.right}"

    def end(self) -> None:
        self._stop = True
        for loop in self._loops:
            loop.result(DEADLINE_S)
        self._pool.shutdown()
        assert not self.wrong, self.wrong[:3]


def reverse_features(manifest: Manifest) -> None:
    features = list(manifest.features)
    del manifest.features[:]
    manifest.features.extend(reversed(features))


def named(rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"f{place}" for place in range(rows.shape[1])])


def served(tmp_path: Path, models: Models) -> Path:
    """Versions 1 and 2 of one model: the second takes its columns the other way round."""
    repository = models.copy(tmp_path / "repository", "numbers/1")
    edit_manifest(copy_version(repository / "numbers/1", 2), reverse_features)
    deploy_on_disk(repository, "numbers", live=1)
    return repository


@both
def test_a_swap_to_another_order_of_columns(tmp_path: Path, models: Models, connect: Connect) -> None:
    """After somebody else's deploy the same rows, by name, get the new version's answer to them in its own order."""
    rows = number_rows(ROWS)
    expected = {
        1: models.answers("numbers/1")({"input": rows}),
        2: models.answers("numbers/1")({"input": np.ascontiguousarray(rows[:, ::-1])}),
    }
    assert not same(expected[1], expected[2])
    with ServerProcess(served(tmp_path, models)) as server:
        server.ready()
        with connect(server.grpc) as client, Client(server.grpc, server.admin) as operator:
            with pytest.raises(RefusedError, match="its columns in another order"):
                operator.deploy("numbers", 2)
            for version in (1, 2, 1):
                operator.deploy("numbers", version, allow_breaking=True)
                result = client.infer("numbers", named(rows))
                assert (result.version, same(result.outputs, expected[version])) == (version, True)


def test_swaps_under_load_never_mix_up_columns(tmp_path: Path, models: Models) -> None:
    """Threads that share a client get the right answer of the version that answered, before, during and after."""
    rows = number_rows(ROWS)
    expected = {
        1: models.answers("numbers/1")({"input": rows}),
        2: models.answers("numbers/1")({"input": np.ascontiguousarray(rows[:, ::-1])}),
    }
    with ServerProcess(served(tmp_path, models)) as server, Client(server.ready().grpc, server.admin) as client:
        traffic = Traffic(client, named(rows), expected)
        try:
            traffic.wait_busy(1)
            for version in (2, 1, 2):
                client.deploy("numbers", version, allow_breaking=True)
                traffic.wait_busy(version)
        finally:
            traffic.end()


def test_a_rolling_restart_fails_no_call(tmp_path: Path, models: Models) -> None:
    """Two processes of different versions are restarted in turn; the client goes to the other one and comes back."""
    rows = number_rows(ROWS)
    expected = {version: models.answers(f"numbers/{version}")({"input": rows}) for version in (1, 2)}
    ports = [free_port(), free_port()]
    repositories = [models.copy(tmp_path / name, f"numbers/{name}") for name in ("1", "2")]
    for live, repository in enumerate(repositories, 1):
        deploy_on_disk(repository, "numbers", live=live)

    def started(place: int) -> ServerProcess:
        return ServerProcess(repositories[place], "--grpc-port", str(ports[place])).ready()

    servers = [started(0), started(1)]
    address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    try:
        with Client(address, options=[("grpc.default_authority", "onnxpress")]) as client:
            traffic = Traffic(client, named(rows), expected)
            try:
                traffic.wait_busy(1, 2)
                for place in (0, 1):
                    assert servers[place].stop() == 0, servers[place].log
                    servers[place] = started(place)
                    traffic.wait_busy(1, 2)
            finally:
                traffic.end()
    finally:
        for server in servers:
            server.kill()


def test_a_client_waits_for_a_server_that_restarts(start: Callable[..., ServerProcess], models: Models) -> None:
    """With one process there is nobody else to ask: a call in the gap waits for it, within its timeout."""
    port = free_port()
    rows = number_rows(ROWS)
    server = start("numbers/1", tried=True, flags=("--grpc-port", str(port)))
    with Client(f"127.0.0.1:{port}") as client, ThreadPoolExecutor(1) as pool:
        assert client.infer("numbers", rows).version == 1
        server.kill()
        waiting = pool.submit(client.infer, "numbers", rows, timeout=DEADLINE_S)
        start("numbers/1", flags=("--grpc-port", str(port)))
        result = waiting.result(DEADLINE_S)
    assert same(result.outputs, models.answers("numbers/1")({"input": rows}))
