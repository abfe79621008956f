"""Admin calls that were refused before the deployer saw them, in the audit log."""

import asyncio
import logging
from concurrent.futures import Executor
from dataclasses import replace
from time import monotonic
from typing import Any

from onnxpress.packages.errors import OnnxpressError
from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos import inference_pb2
from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.facts import AdminFact
from onnxpress.server.rpc.inference import Context
from onnxpress.server.rpc.refusal_window import RefusalWindow
from onnxpress.server.rpc.rollout_messages import action_of
from onnxpress.server.versions.audit import FileAuditLog
from onnxpress.server.wire.status import code_of

# Of each gRPC status. Nobody who may not call can fill the disk: with records of 2 KB at most, 60 MB a day.
RECORDED_MAX = 20
WINDOW_S = 60.0
WRITE_S = 1.0
VERSION_MAX = 2**64 - 1

logger = logging.getLogger(__name__)


class Refusals:
    """Its methods are called on the control loop and do not block it; records are written in `writer`.

    Of each status RECORDED_MAX are recorded in WINDOW_S; what is refused beyond that is counted in one record.
    """

    def __init__(self, audit: FileAuditLog, writer: Executor) -> None:
        """`writer` has one thread, so that records have the order of the calls."""
        self._audit = audit
        self._writer = writer
        self._window = RefusalWindow(RECORDED_MAX, WINDOW_S)
        self._closing: asyncio.TimerHandle | None = None

    def stranger(self, method: str, request: Any, context: Context, error: BaseException) -> None:
        """Notes a call that the gate refused, of any method; the caller is what it says of itself."""
        declared = dict(context.invocation_metadata() or ()).get("x-onnxpress-actor", "")
        actor = f"{context.peer()} on behalf of {declared}" if declared else str(context.peer())
        fact = change_of(request) or AdminFact("", method.rpartition("/")[2], "", 0, 0, 0, "", "")
        self._note(replace(fact, actor=actor), error)

    async def caller(self, request: Any, actor: str, error: OnnxpressError) -> None:
        """Records a refused change of a caller that the gate admitted, unless it is in the log already.

        Returns when the record is written, so that whoever was refused finds it, but after WRITE_S at the latest.
        """
        fact = None if error.audited else change_of(request)
        if fact is not None and (written := self._note(replace(fact, actor=actor), error)) is not None:
            await asyncio.wait((written,), timeout=WRITE_S)

    def close(self) -> None:
        """Records what was counted so far; called when the control loop has ended."""
        self._tell_dropped()

    def _note(self, fact: AdminFact, error: BaseException) -> "asyncio.Future[None] | None":
        code, now, loop = code_of(error).name, monotonic(), asyncio.get_running_loop()
        if self._window.admit(code, now):
            return loop.run_in_executor(self._writer, self._write, fact, code, str(error))
        if self._closing is None:
            self._closing = loop.call_later(self._window.left(now), self._tell_dropped)
        return None

    def _tell_dropped(self) -> None:
        self._closing = None
        dropped = self._window.close()
        if not dropped:
            return
        counts = ", ".join(f"{count:,} {code}" for code, count in sorted(dropped.items()))
        fact = AdminFact("onnxpress", "audit", "", 0, 0, 0, "", "")
        message = f"more calls than are recorded one by one: {counts}"
        self._writer.submit(self._write, fact, "", message)

    def _write(self, fact: AdminFact, code: str, message: str) -> None:
        try:
            self._audit.refuse(None, fact, code, message)
        except OnnxpressError as error:
            # The caller gets the error of its call, whether or not it could be recorded.
            logger.error("a refused %.64r of model %.64r is not in the audit log: %s", fact.action, fact.model, error)  # noqa: TRY400


def change_of(request: Any) -> AdminFact | None:
    """The change that a request asks for, without its caller; None if it asks for none."""

    def change(action: str, model: str, version: int = 0, reason: str = "") -> AdminFact:
        return AdminFact("", action, model, 0, version if 0 <= version <= VERSION_MAX else 0, 0, "", reason)

    match request:
        case pb.DeployRequest():
            action = "roll-out" if request.HasField("rollout") else "deploy"
            return change(action, request.model, request.version, request.reason)
        case pb.RollbackRequest() if not request.dry_run:
            return change("rollback", request.model, reason=request.reason)
        case pb.ChangeRolloutRequest():
            return change(_rollout_action(request), request.model, reason=request.reason)
        case inference_pb2.RepositoryModelLoadRequest():
            parameters = request.parameters
            return change(
                "load", request.model_name, parameters["version"].int64_param if "version" in parameters else 0
            )
        case inference_pb2.RepositoryModelUnloadRequest():
            return change("unload", request.model_name)
        case _:
            return None


def _rollout_action(request: pb.ChangeRolloutRequest) -> str:
    try:
        return action_of(request).value
    except InvalidRequestError:
        return "rollout"
