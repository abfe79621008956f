"""The admin port: onnxpress.v1.Admin, and the model repository extension of Triton."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from datetime import datetime
from typing import Any, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from onnxpress.packages.errors import OnnxpressError
from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos import inference_pb2
from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.rollouts.controller import Controller, Progress
from onnxpress.server.rpc.inference import SERVICE as INFERENCE_SERVICE
from onnxpress.server.rpc.inference import Context, translating
from onnxpress.server.rpc.interceptor import CALLER
from onnxpress.server.rpc.plan_messages import to_plan
from onnxpress.server.rpc.refusals import Refusals
from onnxpress.server.rpc.rollout_messages import action_of, plan_of, to_pairs, to_progress
from onnxpress.server.telemetry.traffic import Traffic
from onnxpress.server.versions.audit import FileAuditLog, state_of
from onnxpress.server.versions.deployer import Deployer
from onnxpress.server.versions.lifecycle import State
from onnxpress.server.versions.reconciler import Reconciler
from onnxpress.server.versions.rollout_message import to_message
from onnxpress.server.versions.status import ModelStatus, Outcome, VersionStatus
from onnxpress.server.wire.status import status_of

SERVICE = "onnxpress.v1.Admin"
HISTORY_DEFAULT = 100
REASON_MAX = 4096
T = TypeVar("T")


class Admin:
    """Runs the blocking methods of Deployer and Reconciler in `pool`; `_watchers` is owned by the control loop."""

    def __init__(
        self,
        deployer: Deployer,
        reconciler: Reconciler,
        rollouts: Controller,
        audit: FileAuditLog,
        refusals: Refusals,
        notices: Callable[[], list[str]],
        traffic: Traffic,
        pool: Executor,
    ) -> None:
        """`notices`: faults of the server itself, as text."""
        self._deployer = deployer
        self._rollouts = rollouts
        self._reconciler = reconciler
        self._audit = audit
        self._refusals = refusals
        self._notices = notices
        self._traffic = traffic
        self._pool = pool
        self._watchers: set[asyncio.Event] = set()
        self._closing = False

    def handlers(self) -> "list[grpc.GenericRpcHandler[Any, Any]]":
        admin = {
            "Deploy": self._unary(self.deploy, pb.DeployRequest),
            "Rollback": self._unary(self.rollback, pb.RollbackRequest),
            "ChangeRollout": self._unary(self.change_rollout, pb.ChangeRolloutRequest),
            "PlanRollout": self._unary(self.plan_rollout, pb.PlanRolloutRequest),
            "GetPairs": self._unary(self.get_pairs, pb.GetPairsRequest),
            "GetDeployment": self._unary(self.get_deployment, pb.GetDeploymentRequest),
            "ListModels": self._unary(self.list_models, pb.ListModelsRequest),
            "GetHistory": self._unary(self.get_history, pb.GetHistoryRequest),
            "WatchDeployments": grpc.unary_stream_rpc_method_handler(
                self.watch_deployments,
                request_deserializer=pb.WatchDeploymentsRequest.FromString,
                response_serializer=pb.GetDeploymentResponse.SerializeToString,
            ),
        }
        repository = {
            "RepositoryIndex": self._unary(self.repository_index, inference_pb2.RepositoryIndexRequest),
            "RepositoryModelLoad": self._unary(self.repository_load, inference_pb2.RepositoryModelLoadRequest),
            "RepositoryModelUnload": self._unary(self.repository_unload, inference_pb2.RepositoryModelUnloadRequest),
        }
        return [
            grpc.method_handlers_generic_handler(SERVICE, admin),
            grpc.method_handlers_generic_handler(INFERENCE_SERVICE, repository),
        ]

    def _unary(self, method: Callable[[Any, str], Any], request: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        """Runs the blocking `method` in the pool, with the request and the caller's identity."""

        async def call(message: Any, _context: Context) -> Any:
            actor = CALLER.get()
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, method, message, actor)
            except OnnxpressError as error:
                await self._refusals.caller(message, actor, error)
                raise

        return grpc.unary_unary_rpc_method_handler(
            translating(call),
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    def deploy(self, request: pb.DeployRequest, actor: str) -> pb.DeployResponse:
        if not request.version:
            raise InvalidRequestError("version must be a positive integer, got 0")
        expected = request.expected_epoch if request.HasField("expected_epoch") else None
        model, version, reason = request.model, request.version, request.reason[:REASON_MAX]
        allowed = request.allow_breaking
        if request.HasField("rollout"):
            plan = plan_of(request.rollout)
            return _outcome(
                self._deployer.roll_out(model, version, plan, expected, reason, actor, allow_breaking=allowed)
            )
        return _outcome(self._deployer.deploy(model, version, expected, reason, actor, allow_breaking=allowed))

    def plan_rollout(self, request: pb.PlanRolloutRequest, _actor: str) -> pb.PlanRolloutResponse:
        if not request.version:
            raise InvalidRequestError("version must be a positive integer, got 0")
        expected = request.expected_epoch if request.HasField("expected_epoch") else None
        model, version, plan = request.model, request.version, plan_of(request.rollout)
        desired = self._deployer.check_roll_out(model, version, plan, expected, allow_breaking=request.allow_breaking)
        lanes = {one.version: one.lane for one in self._reconciler.status(model).versions}
        return to_plan(desired, version, plan, lanes.get(desired.version), self._traffic.last_hour(model))

    def change_rollout(self, request: pb.ChangeRolloutRequest, actor: str) -> pb.DeployResponse:
        expected = request.expected_epoch if request.HasField("expected_epoch") else None
        action, reason = action_of(request), request.reason[:REASON_MAX]
        return _outcome(self._deployer.change_rollout(request.model, action, expected, reason or f"by {actor}", actor))

    def rollback(self, request: pb.RollbackRequest, actor: str) -> pb.DeployResponse:
        if request.dry_run:
            return _outcome(self._deployer.rollback_target(request.model))
        expected = request.expected_epoch if request.HasField("expected_epoch") else None
        return _outcome(self._deployer.rollback(request.model, expected, request.reason[:REASON_MAX], actor))

    def get_pairs(self, request: pb.GetPairsRequest, _actor: str) -> pb.GetPairsResponse:
        self._reconciler.status(request.model)  # raises for an unknown model
        return to_pairs(self._rollouts.pairs(request.model))

    def get_deployment(self, request: pb.GetDeploymentRequest, _actor: str) -> pb.GetDeploymentResponse:
        return self._deployment(request.model)

    def _deployment(self, model: str) -> pb.GetDeploymentResponse:
        return _deployment(self._reconciler.status(model), self._rollouts.progress(model))

    def list_models(self, _request: pb.ListModelsRequest, _actor: str) -> pb.ListModelsResponse:
        models = [self._deployment(name) for name in self._reconciler.names()]
        return pb.ListModelsResponse(models=models, notices=self._notices())

    def get_history(self, request: pb.GetHistoryRequest, _actor: str) -> pb.GetHistoryResponse:
        found = self._audit.history(request.model, request.limit or HISTORY_DEFAULT)
        return pb.GetHistoryResponse(records=[_record(record) for record in found.records], unread=found.unread)

    async def watch_deployments(
        self, request: pb.WatchDeploymentsRequest, context: Context
    ) -> AsyncIterator[pb.GetDeploymentResponse]:
        """Sends the current state, then every change; a slow reader gets the newest state, not all in between."""
        loop = asyncio.get_running_loop()
        try:
            if request.model:
                await loop.run_in_executor(self._pool, self._reconciler.status, request.model)
        except Exception as error:  # noqa: BLE001 -- the table says what the caller may know
            code, message, metadata = status_of(error)
            await context.abort(code, message, tuple(metadata))
        changed = asyncio.Event()
        self._watchers.add(changed)
        told: dict[str, bytes] = {}
        try:
            while not self._closing:
                changed.clear()
                names = (
                    [request.model] if request.model else await loop.run_in_executor(self._pool, self._reconciler.names)
                )
                for name in names:
                    state = await loop.run_in_executor(self._pool, self._deployment, name)
                    if told.get(name) != (seen := state.SerializeToString(deterministic=True)):
                        told[name] = seen
                        yield state
                await changed.wait()
        finally:
            self._watchers.discard(changed)

    def wake_watchers(self, *, closing: bool = False) -> None:
        """Called on the control loop when a deployment or a version has changed."""
        self._closing = self._closing or closing
        for changed in self._watchers:
            changed.set()

    def repository_index(
        self, request: inference_pb2.RepositoryIndexRequest, _actor: str
    ) -> inference_pb2.RepositoryIndexResponse:
        index = inference_pb2.RepositoryIndexResponse()
        for name in self._reconciler.names():
            for version in self._reconciler.status(name).versions:
                ready = version.state is State.READY
                if ready or not request.ready:
                    state = "READY" if ready else "UNAVAILABLE" if version.state is not State.LOADING else "LOADING"
                    index.models.add(name=name, version=str(version.version), state=state, reason=version.reason)
        return index

    def repository_load(
        self, request: inference_pb2.RepositoryModelLoadRequest, actor: str
    ) -> inference_pb2.RepositoryModelLoadResponse:
        """Parameter `version` (int64): load that version beside the live one; without it the deployed one."""
        unknown = set(request.parameters) - {"version"}
        if unknown:
            raise InvalidRequestError(f"parameter {min(unknown)!r} is not supported: there is `version` (int64)")
        self._deployer.load(
            request.model_name, request.parameters["version"].int64_param if request.parameters else 0, actor
        )
        return inference_pb2.RepositoryModelLoadResponse()

    def repository_unload(
        self, request: inference_pb2.RepositoryModelUnloadRequest, actor: str
    ) -> inference_pb2.RepositoryModelUnloadResponse:
        self._deployer.unload(request.model_name, actor)
        return inference_pb2.RepositoryModelUnloadResponse()


def _outcome(outcome: Outcome) -> pb.DeployResponse:
    return pb.DeployResponse(
        model=outcome.model,
        version=outcome.version,
        previous_version=outcome.previous,
        epoch=outcome.epoch,
        changed=outcome.changed,
    )


def _deployment(status: ModelStatus, progress: Progress | None) -> pb.GetDeploymentResponse:
    desired = status.desired
    return pb.GetDeploymentResponse(
        model=status.model,
        epoch=desired.epoch,
        live_version=desired.version,
        previous_version=desired.previous,
        reason=desired.reason,
        actor=desired.actor,
        updated_at=desired.updated_at,
        served_version=status.served_version,
        served_epoch=status.served_epoch,
        trouble=status.trouble,
        rollout=to_message(desired.rollout) if desired.rollout is not None else None,
        progress=to_progress(progress) if progress is not None else None,
        versions=[
            pb.VersionStatus(
                version=version.version,
                state=f"VERSION_STATE_{version.state.name}",
                reason=version.reason,
                digest=version.lane.digest if version.lane else "",
                alone=version.lane.signature.alone if version.lane else "",
                engine=version.lane.session.engine if version.lane else "",
                gate=_gate(version),
            )
            for version in status.versions
        ],
    )


def _gate(version: VersionStatus) -> pb.GateResult | None:
    """The stored verdict; one on other bytes than the loaded ones is stale, since it was replaced without a new one."""
    stored = version.verdict
    if stored is None:
        return None
    verdict, reasons = stored.verdict.name, list(stored.reasons)
    if version.lane is not None and stored.digest not in ("", version.lane.digest):
        verdict, reasons = "STALE", [f"it is about model.onnx with digest {stored.digest[:12]}…", *reasons]
    return pb.GateResult(
        verdict=f"GATE_VERDICT_{verdict}",
        champion=stored.champion,
        metric=stored.metric,
        gain=stored.gain,
        gain_low=stored.low,
        gain_high=stored.high,
        reasons=reasons,
        finished_at=stored.finished_at,
    )


def _record(record: dict[str, Any]) -> pb.AuditRecord:
    at = Timestamp()
    at.FromDatetime(datetime.fromisoformat(record["at"]))
    same = ("sequence", "actor", "action", "model", "from_version", "to_version", "epoch", "digest", "reason", "result")
    state = f"AUDIT_STATE_{state_of(record).name}"
    added = {name: record.get(name, "") for name in ("server", "change", "code")}
    return pb.AuditRecord(at=at, state=state, **added, **{name: record[name] for name in same})
