"""Refused admin calls in the audit log: what is recorded of them, how often, and what happens if it cannot be."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos import inference_pb2
from onnxpress.server.errors import InvalidRequestError, PermissionDeniedError, UnauthenticatedError
from onnxpress.server.rpc import refusals
from onnxpress.server.rpc.refusals import RECORDED_MAX, Refusals, change_of
from onnxpress.server.versions.audit import FileAuditLog
from onnxpress.server.versions.audit_chain import Record
from tests.server_process import PATIENCE_S

LOAD = inference_pb2.RepositoryModelLoadRequest(model_name="churn")
LOAD.parameters["version"].int64_param = 3
NEGATIVE = inference_pb2.RepositoryModelLoadRequest(model_name="churn")
NEGATIVE.parameters["version"].int64_param = -1


class Call:
    """What grpc tells of a call."""

    def __init__(self, declared: str = "") -> None:
        self._declared = declared

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [("x-onnxpress-actor", self._declared)] if self._declared else []

    def peer(self) -> str:
        return "ipv4:10.0.0.9:7"


def run(folder: Path, check: Callable[[Refusals], Awaitable[None]]) -> list[Record]:
    """What is in the log after `check` on a control loop, and the end of the server."""

    async def main() -> None:
        with ThreadPoolExecutor(1) as writer:
            noted = Refusals(FileAuditLog(folder, "here.1.00"), writer)
            await check(noted)
            noted.close()

    asyncio.run(main())
    return FileAuditLog(folder, "here.2.00").history("", 1000).records


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (pb.DeployRequest(model="churn", version=2, reason="why"), ("deploy", "churn", 2, "why")),
        (pb.DeployRequest(model="churn", version=2, rollout=pb.RolloutPlan()), ("roll-out", "churn", 2, "")),
        (pb.RollbackRequest(model="churn", reason="why"), ("rollback", "churn", 0, "why")),
        (pb.RollbackRequest(model="churn", dry_run=True), None),
        (pb.ChangeRolloutRequest(model="churn", action="ROLLOUT_ACTION_ROLL_BACK"), ("roll-back", "churn", 0, "")),
        (pb.ChangeRolloutRequest(model="churn"), ("rollout", "churn", 0, "")),
        (pb.ChangeRolloutRequest(model="churn", action=77), ("rollout", "churn", 0, "")),  # type: ignore[arg-type]
        (LOAD, ("load", "churn", 3, "")),
        (NEGATIVE, ("load", "churn", 0, "")),
        (inference_pb2.RepositoryModelLoadRequest(model_name="churn"), ("load", "churn", 0, "")),
        (inference_pb2.RepositoryModelUnloadRequest(model_name="churn"), ("unload", "churn", 0, "")),
        (pb.GetHistoryRequest(model="churn"), None),
        (None, None),
    ],
)
def test_what_a_request_asks_for(request_: Any, told: tuple[str, str, int, str] | None) -> None:
    """Action, model, version and reason of each request that changes something."""
    fact = change_of(request_)
    assert (fact and (fact.action, fact.model, fact.to_version, fact.reason)) == told


def test_what_is_recorded(tmp_path: Path) -> None:
    """Who, what, which model and version, with which status and message; of readers too, if the gate refused them."""

    async def check(noted: Refusals) -> None:
        asked = pb.DeployRequest(model="churn", version=2, reason="better")
        noted.stranger("/onnxpress.v1.Admin/Deploy", asked, Call("ada"), UnauthenticatedError("no token"))  # type: ignore[arg-type]
        noted.stranger("/x/GetHistory", pb.GetHistoryRequest(), Call(), PermissionDeniedError("not you"))  # type: ignore[arg-type]
        await noted.caller(pb.DeployRequest(model="churn"), "ci-bot", InvalidRequestError("version must be"))
        await noted.caller(pb.GetHistoryRequest(), "ci-bot", InvalidRequestError("nothing was to change"))

    keys = ("actor", "action", "model", "to_version", "reason", "state", "code", "result")
    assert [tuple(record[key] for key in keys) for record in run(tmp_path, check)] == [
        ("ipv4:10.0.0.9:7 on behalf of ada", "deploy", "churn", 2, "better", "refused", "UNAUTHENTICATED",
         "refused: no token"),
        ("ipv4:10.0.0.9:7", "GetHistory", "", 0, "", "refused", "PERMISSION_DENIED", "refused: not you"),
        ("ci-bot", "deploy", "churn", 0, "", "refused", "INVALID_ARGUMENT", "refused: version must be"),
    ]  # fmt: skip


def test_what_the_deployer_has_recorded_is_not_recorded_again(tmp_path: Path) -> None:
    """It marks the error."""
    error = InvalidRequestError("no")
    error.audited = True
    assert run(tmp_path, lambda noted: noted.caller(pb.DeployRequest(model="churn"), "ada", error)) == []


def test_it_is_written_before_the_caller_is_answered(tmp_path: Path) -> None:
    """So `onnxpress history` has it when the refused command has ended."""

    async def check(noted: Refusals) -> None:
        await noted.caller(pb.DeployRequest(model="churn"), "ada", InvalidRequestError("no"))
        assert b"refused: no" in (tmp_path / "audit.jsonl").read_bytes()

    run(tmp_path, check)


def test_a_flood_is_counted(tmp_path: Path) -> None:
    """Records of each status up to the limit, and one that counts the rest."""

    async def check(noted: Refusals) -> None:
        for number in range(RECORDED_MAX + 1234):
            asked = pb.DeployRequest(model=f"m{number}" * 1000)
            noted.stranger("/x/Deploy", asked, Call("a" * 9999), UnauthenticatedError("no token"))  # type: ignore[arg-type]
        noted.stranger("/x/Deploy", None, Call(), PermissionDeniedError("not you"))  # type: ignore[arg-type]

    *told, last = run(tmp_path, check)
    assert [record["code"] for record in told] == ["UNAUTHENTICATED"] * RECORDED_MAX + ["PERMISSION_DENIED"]
    assert (last["state"], last["actor"], last["action"]) == ("refused", "onnxpress", "audit")
    assert last["result"] == "refused: more calls than are recorded one by one: 1,234 UNAUTHENTICATED"
    assert (tmp_path / "audit.jsonl").stat().st_size < (RECORDED_MAX + 2) * 2048


def test_the_count_is_recorded_when_the_window_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another refusal and without the end of the server; then the next window begins."""
    monkeypatch.setattr(refusals, "WINDOW_S", 0.05)

    async def check(noted: Refusals) -> None:
        written, write = asyncio.Event(), noted._write
        loop = asyncio.get_running_loop()

        def observed(fact: Any, code: str, message: str) -> None:
            write(fact, code, message)
            if not code:
                loop.call_soon_threadsafe(written.set)

        monkeypatch.setattr(noted, "_write", observed)
        for more in (7, 9):
            for _ in range(RECORDED_MAX + more):
                noted.stranger("/x/Deploy", None, Call(), UnauthenticatedError("no token"))  # type: ignore[arg-type]
            await asyncio.wait_for(written.wait(), PATIENCE_S)
            written.clear()

    told = run(tmp_path, check)
    counts = [record["result"].rpartition(": ")[2] for record in told if "code" not in record]
    assert counts == ["7 UNAUTHENTICATED", "9 UNAUTHENTICATED"]
    assert len(told) == 2 * (RECORDED_MAX + 1)
    assert "code" not in told[-1]


def test_a_log_that_cannot_be_written_changes_nothing_for_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The refused call ends as it would; the server's log says that the record is missing."""

    async def check(noted: Refusals) -> None:
        (tmp_path / "audit.jsonl").mkdir()
        await noted.caller(pb.DeployRequest(model="churn"), "ada", InvalidRequestError("no"))
        (tmp_path / "audit.jsonl").rmdir()

    with caplog.at_level(logging.ERROR):
        assert run(tmp_path, check) == []
    assert "a refused 'deploy' of model 'churn' is not in the audit log: the audit log cannot be written" in caplog.text
