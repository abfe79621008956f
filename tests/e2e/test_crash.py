"""P5: kill -9 at any moment loses nothing that was acknowledged."""

import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from onnxpress.protos import admin_pb2
from onnxpress.server.versions.audit_chain import NO_HASH, record_hash
from onnxpress.server.versions.recovery import ENDED
from tests.answers import number_rows
from tests.e2e.faulty_server import POINTS
from tests.inference_calls import DEADLINE_S, administered, connected, request
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import PATIENCE_S, ROOT, ServerProcess

# From here on the deploy is durable: a restart must carry it out although nobody was told.
DURABLE = POINTS.index("after the rename")
KILLS = 4


def read_audit(repository: Path) -> list[dict[str, Any]]:
    """The records of all files, after proving that each carries its own hash and that of the one before."""
    folder = repository / ".onnxpress/audit"
    files = [*sorted(folder.glob("audit-*.jsonl")), folder / "audit.jsonl"]
    records: list[dict[str, Any]] = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    previous = NO_HASH
    for number, record in enumerate(records, 1):
        assert record["sequence"] == number
        assert record["previous"] == previous
        assert record["hash"] == (previous := record_hash(record))
    return records


def committed(repository: Path) -> list[int]:
    return [record["to_version"] for record in read_audit(repository) if record["state"] == "committed"]


def deploy(server: ServerProcess, version: int) -> admin_pb2.DeployResponse:
    with administered(server.admin) as admin:
        return admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=version), timeout=DEADLINE_S)


def live(server: ServerProcess) -> tuple[int, int]:
    """Version and epoch that the admin port tells, after checking that this version answers."""
    with administered(server.admin) as admin, connected(server.grpc) as stub:
        told = admin.GetDeployment(admin_pb2.GetDeploymentRequest(model="numbers"), timeout=DEADLINE_S)
        answer = stub.ModelInfer(request({"input": number_rows(1)}), timeout=DEADLINE_S)
    assert int(answer.model_version) == told.live_version
    return told.live_version, told.epoch


def changes(server: ServerProcess) -> list[tuple[int, str, str]]:
    """Version, state and result of each change that `onnxpress history` tells."""
    with administered(server.admin) as admin:
        told = admin.GetHistory(admin_pb2.GetHistoryRequest(), timeout=DEADLINE_S).records
    return [
        (one.to_version, admin_pb2.AuditState.Name(one.state).removeprefix("AUDIT_STATE_"), one.result) for one in told
    ]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(tmp_path: Path, models: Models, point: str) -> None:
    """Killed at this point of a deploy: after a restart the last acknowledged or the newly durable version is live."""
    repository = models.copy(tmp_path, "numbers/1", "numbers/2")
    deploy_on_disk(repository, "numbers", live=2, previous=1)
    with ServerProcess(repository, command=(sys.executable, "-m", "tests.e2e.faulty_server", point, "2")) as faulty:
        assert deploy(faulty.ready(), 1).epoch == 2
        with pytest.raises(grpc.RpcError):
            deploy(faulty, 2)
        assert faulty.wait() < 0
    with ServerProcess(repository) as server:
        expected = (2, 3) if POINTS.index(point) >= DURABLE else (1, 2)
        assert live(server.ready()) == expected
        read_audit(repository)
        # Told as it was: nothing of what was never asked for, and an outcome for what was.
        expected_changes = [(1, "COMMITTED", "ok")]
        if point not in ("before the intent", "in the middle of the intent"):
            carried_out = POINTS.index(point) >= DURABLE
            expected_changes.append((2, "COMMITTED", "ok") if carried_out else (2, "ABORTED", ENDED))
        assert changes(server) == expected_changes
        # Life goes on, with epochs that only grow.
        assert deploy(server, 3 - expected[0]).epoch == expected[1] + 1
        assert live(server) == (3 - expected[0], expected[1] + 1)
        assert server.stop() == 0
    read_audit(repository)
    assert [path.name for path in (repository / "numbers").iterdir() if path.name.startswith(".")] == []


def test_killed_anywhere(tmp_path: Path, models: Models) -> None:
    """Killed at random moments of a series of deploys, again and again, nothing acknowledged is lost.

    Every other record goes into a new file of the audit log, so that rotations are killed too.
    """
    repository = models.copy(tmp_path, "numbers/1", "numbers/2")
    deploy_on_disk(repository, "numbers", live=2, previous=1)
    chance = random.Random(7)
    acknowledged: list[tuple[int, int]] = []
    for _ in range(KILLS):
        with (
            ServerProcess(repository, "--audit-file-kib-max", "1") as server,
            administered(server.ready().admin) as admin,
        ):
            version, epoch = live(server)
            if acknowledged:
                assert epoch >= acknowledged[-1][1]
                assert epoch > acknowledged[-1][1] or version == acknowledged[-1][0]
            for _ in range(chance.randrange(6)):
                version = 3 - version
                done = admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=version), timeout=DEADLINE_S)
                acknowledged.append((version, done.epoch))
            call = admin.Deploy.future(admin_pb2.DeployRequest(model="numbers", version=3 - version))
            with suppress(grpc.FutureTimeoutError, grpc.RpcError):
                acknowledged.append((3 - version, call.result(timeout=chance.random() * 0.02).epoch))
            server.kill()
            # It may have been answered between the wait and the kill.
            if call.code() is grpc.StatusCode.OK and (3 - version, call.result().epoch) not in acknowledged:
                acknowledged.append((3 - version, call.result().epoch))
        records = read_audit(repository)
        # The last one may have been answered without its outcome in the log: the next start finds it out.
        carried_out = {(r["to_version"], r["epoch"]) for r in records if r["state"] in ("intent", "committed")}
        assert set(acknowledged) <= carried_out
    assert len(acknowledged) > KILLS
    assert len(list((repository / ".onnxpress/audit").glob("audit-*.jsonl"))) > KILLS


def test_torn_audit_record_is_cut(tmp_path: Path, models: Models) -> None:
    """Half a record at the end of the audit log, which nobody was told about, goes; the chain before it stays."""
    repository = models.copy(tmp_path, "numbers/1", "numbers/2")
    with ServerProcess(repository) as server:
        deploy(server.ready(), 1)
        server.kill()
    with (repository / ".onnxpress/audit/audit.jsonl").open("ab") as file:
        file.write(b'{"sequence": 2, "at": "20')
    with ServerProcess(repository) as server:
        assert deploy(server.ready(), 2).epoch == 2
        assert server.stop() == 0
    assert committed(repository) == [1, 2]


@pytest.mark.parametrize("line", [0, 1, 3])
def test_a_flipped_byte_is_told_and_kept(tmp_path: Path, models: Models, line: int) -> None:
    """A server serves on over a broken audit log, and says where it breaks in log, history and status; nothing is lost.

    Every byte of the file remains under another name, and the chain goes on from the last record before the break.
    """
    repository = models.copy(tmp_path, "numbers/1", "numbers/2")
    audit = repository / ".onnxpress/audit/audit.jsonl"
    with ServerProcess(repository) as server:
        deploy(server.ready(), 1)
        deploy(server, 2)
        assert server.stop() == 0
    lines = audit.read_bytes().splitlines(keepends=True)
    offset = sum(map(len, lines[:line]))
    lines[line] = lines[line].replace(b"numbers", b"numbars")
    audit.write_bytes(b"".join(lines))
    with ServerProcess(repository) as server:
        assert live(server.ready()) == (2, 2)
        told = f"line {line + 1}, bytes {offset} to {offset + len(lines[line])}"
        server.wait_for(f"the audit log was broken: {told}")
        records = read_audit(repository)
        last = records[line]
        assert (last["state"], last["action"]) == ("break", "audit")
        # An intent whose outcome stood behind the break has one again.
        assert [record["state"] for record in records[line + 1 :]] == ["committed"] * (line % 2)
        (kept,) = audit.parent.glob("audit.jsonl.broken-*")
        assert kept.read_bytes() == b"".join(lines)
        assert hashlib.sha256(b"".join(lines)).hexdigest() in last["result"]
        with administered(server.admin) as admin:
            records = admin.GetHistory(admin_pb2.GetHistoryRequest(model="numbers"), timeout=DEADLINE_S).records
        (found,) = (record for record in records if record.state == admin_pb2.AUDIT_STATE_BREAK)
        assert told in found.result
        assert kept.name in found.result
        for command in ("history", "status"):
            shown = subprocess.run(
                [sys.executable, "-m", "onnxpress", command, "--server", server.admin],
                cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True,
            )  # fmt: skip
            assert told in shown.stdout
        with urllib.request.urlopen(f"http://{server.http}/readyz", timeout=DEADLINE_S) as answer:
            assert told in answer.read().decode()
        assert deploy(server, 1).epoch == 3
        assert server.stop() == 0
    read_audit(repository)


def test_full_disk(start: Callable[..., ServerProcess]) -> None:
    """A disk that takes no more makes a deploy fail with that reason and changes nothing; freed, it goes on."""
    server = start("numbers/1", "numbers/2")
    deploy(server, 1)
    audit = server.repository / ".onnxpress/audit/audit.jsonl"
    deployment = server.repository / "numbers/deployment.json"
    before = audit.read_bytes(), deployment.read_bytes()
    unlimited = resource.prlimit(
        server.process.pid, resource.RLIMIT_FSIZE, (len(before[0]) + 20, resource.RLIM_INFINITY)
    )
    with pytest.raises(grpc.RpcError, match="the audit log cannot be written: File too large") as caught:
        deploy(server, 2)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (audit.read_bytes(), deployment.read_bytes()) == before
    assert live(server) == (1, 1)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert deploy(server, 2).epoch == 2
    assert live(server) == (2, 2)
    assert server.stop() == 0
    assert committed(server.repository) == [1, 2]


def test_deployment_of_a_version_that_is_gone(tmp_path: Path, models: Models) -> None:
    """When the live version's folder has vanished the model is failed with that reason, and another can be deployed."""
    repository = models.copy(tmp_path, "numbers/1", "numbers/2", "bare")
    deploy_on_disk(repository, "numbers", live=2, previous=1)
    shutil.rmtree(repository / "numbers/2")
    with ServerProcess(repository) as server, connected(server.ready().grpc) as stub:
        with pytest.raises(
            grpc.RpcError, match="version 2 is what the deployment wants live, but not in the repository"
        ) as caught:
            stub.ModelInfer(request({"input": number_rows(1)}), timeout=DEADLINE_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert stub.ModelInfer(request({"input": number_rows(1)}, "bare"), timeout=DEADLINE_S).model_version == "1"
        assert deploy(server, 1).epoch == 2
        assert live(server) == (1, 2)
