import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from onnxpress.protos import deployment_pb2 as _deployment_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RolloutAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLLOUT_ACTION_UNSPECIFIED: _ClassVar[RolloutAction]
    ROLLOUT_ACTION_ADVANCE: _ClassVar[RolloutAction]
    ROLLOUT_ACTION_PROMOTE: _ClassVar[RolloutAction]
    ROLLOUT_ACTION_ROLL_BACK: _ClassVar[RolloutAction]
    ROLLOUT_ACTION_ABORT: _ClassVar[RolloutAction]
    ROLLOUT_ACTION_PAUSE: _ClassVar[RolloutAction]
    ROLLOUT_ACTION_RESUME: _ClassVar[RolloutAction]

class VersionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_STATE_UNSPECIFIED: _ClassVar[VersionState]
    VERSION_STATE_AVAILABLE: _ClassVar[VersionState]
    VERSION_STATE_LOADING: _ClassVar[VersionState]
    VERSION_STATE_READY: _ClassVar[VersionState]
    VERSION_STATE_DRAINING: _ClassVar[VersionState]
    VERSION_STATE_FAILED: _ClassVar[VersionState]

class GateVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GATE_VERDICT_UNSPECIFIED: _ClassVar[GateVerdict]
    GATE_VERDICT_PASSED: _ClassVar[GateVerdict]
    GATE_VERDICT_FAILED: _ClassVar[GateVerdict]
    GATE_VERDICT_UNREADABLE: _ClassVar[GateVerdict]
    GATE_VERDICT_STALE: _ClassVar[GateVerdict]

class AuditState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_STATE_UNSPECIFIED: _ClassVar[AuditState]
    AUDIT_STATE_INTENT: _ClassVar[AuditState]
    AUDIT_STATE_COMMITTED: _ClassVar[AuditState]
    AUDIT_STATE_ABORTED: _ClassVar[AuditState]
    AUDIT_STATE_UNKNOWN: _ClassVar[AuditState]
    AUDIT_STATE_BREAK: _ClassVar[AuditState]
    AUDIT_STATE_REFUSED: _ClassVar[AuditState]
ROLLOUT_ACTION_UNSPECIFIED: RolloutAction
ROLLOUT_ACTION_ADVANCE: RolloutAction
ROLLOUT_ACTION_PROMOTE: RolloutAction
ROLLOUT_ACTION_ROLL_BACK: RolloutAction
ROLLOUT_ACTION_ABORT: RolloutAction
ROLLOUT_ACTION_PAUSE: RolloutAction
ROLLOUT_ACTION_RESUME: RolloutAction
VERSION_STATE_UNSPECIFIED: VersionState
VERSION_STATE_AVAILABLE: VersionState
VERSION_STATE_LOADING: VersionState
VERSION_STATE_READY: VersionState
VERSION_STATE_DRAINING: VersionState
VERSION_STATE_FAILED: VersionState
GATE_VERDICT_UNSPECIFIED: GateVerdict
GATE_VERDICT_PASSED: GateVerdict
GATE_VERDICT_FAILED: GateVerdict
GATE_VERDICT_UNREADABLE: GateVerdict
GATE_VERDICT_STALE: GateVerdict
AUDIT_STATE_UNSPECIFIED: AuditState
AUDIT_STATE_INTENT: AuditState
AUDIT_STATE_COMMITTED: AuditState
AUDIT_STATE_ABORTED: AuditState
AUDIT_STATE_UNKNOWN: AuditState
AUDIT_STATE_BREAK: AuditState
AUDIT_STATE_REFUSED: AuditState

class DeployRequest(_message.Message):
    __slots__ = ("model", "version", "expected_epoch", "reason", "allow_breaking", "rollout")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ALLOW_BREAKING_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    expected_epoch: int
    reason: str
    allow_breaking: bool
    rollout: RolloutPlan
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., expected_epoch: _Optional[int] = ..., reason: _Optional[str] = ..., allow_breaking: bool = ..., rollout: _Optional[_Union[RolloutPlan, _Mapping]] = ...) -> None: ...

class RolloutPlan(_message.Message):
    __slots__ = ("steps", "guards", "advance_without_evidence", "shadow", "hold")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUARDS_FIELD_NUMBER: _ClassVar[int]
    ADVANCE_WITHOUT_EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[_deployment_pb2.RolloutStep]
    guards: _containers.RepeatedCompositeFieldContainer[_deployment_pb2.GuardPolicy]
    advance_without_evidence: bool
    shadow: float
    hold: bool
    def __init__(self, steps: _Optional[_Iterable[_Union[_deployment_pb2.RolloutStep, _Mapping]]] = ..., guards: _Optional[_Iterable[_Union[_deployment_pb2.GuardPolicy, _Mapping]]] = ..., advance_without_evidence: bool = ..., shadow: _Optional[float] = ..., hold: bool = ...) -> None: ...

class PlanRolloutRequest(_message.Message):
    __slots__ = ("model", "version", "expected_epoch", "rollout", "allow_breaking")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_BREAKING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    expected_epoch: int
    rollout: RolloutPlan
    allow_breaking: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., expected_epoch: _Optional[int] = ..., rollout: _Optional[_Union[RolloutPlan, _Mapping]] = ..., allow_breaking: bool = ...) -> None: ...

class PlanRolloutResponse(_message.Message):
    __slots__ = ("model", "version", "live_version", "epoch", "minutes", "calls_per_s", "rows_per_s", "guards", "steps")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    CALLS_PER_S_FIELD_NUMBER: _ClassVar[int]
    ROWS_PER_S_FIELD_NUMBER: _ClassVar[int]
    GUARDS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    live_version: int
    epoch: int
    minutes: float
    calls_per_s: float
    rows_per_s: float
    guards: _containers.RepeatedCompositeFieldContainer[_deployment_pb2.GuardPolicy]
    steps: _containers.RepeatedCompositeFieldContainer[PlannedStep]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., live_version: _Optional[int] = ..., epoch: _Optional[int] = ..., minutes: _Optional[float] = ..., calls_per_s: _Optional[float] = ..., rows_per_s: _Optional[float] = ..., guards: _Optional[_Iterable[_Union[_deployment_pb2.GuardPolicy, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[PlannedStep, _Mapping]]] = ...) -> None: ...

class PlannedStep(_message.Message):
    __slots__ = ("weight", "baking_s", "calls_min", "calls_per_s", "faults", "advance_s", "advance_waits_for")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    BAKING_S_FIELD_NUMBER: _ClassVar[int]
    CALLS_MIN_FIELD_NUMBER: _ClassVar[int]
    CALLS_PER_S_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    ADVANCE_S_FIELD_NUMBER: _ClassVar[int]
    ADVANCE_WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    weight: float
    baking_s: int
    calls_min: int
    calls_per_s: float
    faults: _containers.RepeatedCompositeFieldContainer[PlannedFault]
    advance_s: float
    advance_waits_for: str
    def __init__(self, weight: _Optional[float] = ..., baking_s: _Optional[int] = ..., calls_min: _Optional[int] = ..., calls_per_s: _Optional[float] = ..., faults: _Optional[_Iterable[_Union[PlannedFault, _Mapping]]] = ..., advance_s: _Optional[float] = ..., advance_waits_for: _Optional[str] = ...) -> None: ...

class PlannedFault(_message.Message):
    __slots__ = ("fault", "guard", "median_s", "p99_s", "unseen_because")
    FAULT_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_S_FIELD_NUMBER: _ClassVar[int]
    P99_S_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    fault: str
    guard: str
    median_s: float
    p99_s: float
    unseen_because: str
    def __init__(self, fault: _Optional[str] = ..., guard: _Optional[str] = ..., median_s: _Optional[float] = ..., p99_s: _Optional[float] = ..., unseen_because: _Optional[str] = ...) -> None: ...

class ChangeRolloutRequest(_message.Message):
    __slots__ = ("model", "action", "expected_epoch", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    action: RolloutAction
    expected_epoch: int
    reason: str
    def __init__(self, model: _Optional[str] = ..., action: _Optional[_Union[RolloutAction, str]] = ..., expected_epoch: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class GetPairsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetPairsResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[PairedRow]
    def __init__(self, rows: _Optional[_Iterable[_Union[PairedRow, _Mapping]]] = ...) -> None: ...

class PairedRow(_message.Message):
    __slots__ = ("flipped", "difference", "inputs", "champion", "candidate")
    FLIPPED_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    flipped: bool
    difference: float
    inputs: str
    champion: str
    candidate: str
    def __init__(self, flipped: bool = ..., difference: _Optional[float] = ..., inputs: _Optional[str] = ..., champion: _Optional[str] = ..., candidate: _Optional[str] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("model", "expected_epoch", "reason", "dry_run")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    model: str
    expected_epoch: int
    reason: str
    dry_run: bool
    def __init__(self, model: _Optional[str] = ..., expected_epoch: _Optional[int] = ..., reason: _Optional[str] = ..., dry_run: bool = ...) -> None: ...

class DeployResponse(_message.Message):
    __slots__ = ("model", "version", "previous_version", "epoch", "changed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    previous_version: int
    epoch: int
    changed: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., previous_version: _Optional[int] = ..., epoch: _Optional[int] = ..., changed: bool = ...) -> None: ...

class GateResult(_message.Message):
    __slots__ = ("verdict", "champion", "metric", "gain", "gain_low", "gain_high", "reasons", "finished_at")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    GAIN_FIELD_NUMBER: _ClassVar[int]
    GAIN_LOW_FIELD_NUMBER: _ClassVar[int]
    GAIN_HIGH_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    verdict: GateVerdict
    champion: int
    metric: str
    gain: float
    gain_low: float
    gain_high: float
    reasons: _containers.RepeatedScalarFieldContainer[str]
    finished_at: _timestamp_pb2.Timestamp
    def __init__(self, verdict: _Optional[_Union[GateVerdict, str]] = ..., champion: _Optional[int] = ..., metric: _Optional[str] = ..., gain: _Optional[float] = ..., gain_low: _Optional[float] = ..., gain_high: _Optional[float] = ..., reasons: _Optional[_Iterable[str]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VersionStatus(_message.Message):
    __slots__ = ("version", "state", "reason", "digest", "alone", "engine", "gate")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    version: int
    state: VersionState
    reason: str
    digest: str
    alone: str
    engine: str
    gate: GateResult
    def __init__(self, version: _Optional[int] = ..., state: _Optional[_Union[VersionState, str]] = ..., reason: _Optional[str] = ..., digest: _Optional[str] = ..., alone: _Optional[str] = ..., engine: _Optional[str] = ..., gate: _Optional[_Union[GateResult, _Mapping]] = ...) -> None: ...

class GetDeploymentRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetDeploymentResponse(_message.Message):
    __slots__ = ("model", "epoch", "live_version", "previous_version", "reason", "actor", "updated_at", "versions", "served_version", "served_epoch", "trouble", "rollout", "progress")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LIVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SERVED_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    model: str
    epoch: int
    live_version: int
    previous_version: int
    reason: str
    actor: str
    updated_at: _timestamp_pb2.Timestamp
    versions: _containers.RepeatedCompositeFieldContainer[VersionStatus]
    served_version: int
    served_epoch: int
    trouble: str
    rollout: _deployment_pb2.Rollout
    progress: RolloutProgress
    def __init__(self, model: _Optional[str] = ..., epoch: _Optional[int] = ..., live_version: _Optional[int] = ..., previous_version: _Optional[int] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[VersionStatus, _Mapping]]] = ..., served_version: _Optional[int] = ..., served_epoch: _Optional[int] = ..., trouble: _Optional[str] = ..., rollout: _Optional[_Union[_deployment_pb2.Rollout, _Mapping]] = ..., progress: _Optional[_Union[RolloutProgress, _Mapping]] = ...) -> None: ...

class RolloutProgress(_message.Message):
    __slots__ = ("step_calls", "next", "guards", "copies")
    STEP_CALLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    GUARDS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    step_calls: int
    next: str
    guards: _containers.RepeatedCompositeFieldContainer[GuardReading]
    copies: Copies
    def __init__(self, step_calls: _Optional[int] = ..., next: _Optional[str] = ..., guards: _Optional[_Iterable[_Union[GuardReading, _Mapping]]] = ..., copies: _Optional[_Union[Copies, _Mapping]] = ...) -> None: ...

class Copies(_message.Message):
    __slots__ = ("share", "pairs", "flips", "largest_difference", "dropped", "none_because")
    SHARE_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    FLIPS_FIELD_NUMBER: _ClassVar[int]
    LARGEST_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    NONE_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    share: float
    pairs: int
    flips: int
    largest_difference: float
    dropped: int
    none_because: str
    def __init__(self, share: _Optional[float] = ..., pairs: _Optional[int] = ..., flips: _Optional[int] = ..., largest_difference: _Optional[float] = ..., dropped: _Optional[int] = ..., none_because: _Optional[str] = ...) -> None: ...

class GuardReading(_message.Message):
    __slots__ = ("guard", "evidence", "convicts_at", "excess", "floor", "absence", "clears_at", "text")
    GUARD_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    CONVICTS_AT_FIELD_NUMBER: _ClassVar[int]
    EXCESS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    ABSENCE_FIELD_NUMBER: _ClassVar[int]
    CLEARS_AT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    guard: str
    evidence: float
    convicts_at: float
    excess: float
    floor: float
    absence: float
    clears_at: float
    text: str
    def __init__(self, guard: _Optional[str] = ..., evidence: _Optional[float] = ..., convicts_at: _Optional[float] = ..., excess: _Optional[float] = ..., floor: _Optional[float] = ..., absence: _Optional[float] = ..., clears_at: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "notices")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[GetDeploymentResponse]
    notices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, models: _Optional[_Iterable[_Union[GetDeploymentResponse, _Mapping]]] = ..., notices: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchDeploymentsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("model", "limit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    limit: int
    def __init__(self, model: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class AuditRecord(_message.Message):
    __slots__ = ("sequence", "at", "actor", "action", "model", "from_version", "to_version", "epoch", "digest", "reason", "result", "state", "server", "change", "code")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    at: _timestamp_pb2.Timestamp
    actor: str
    action: str
    model: str
    from_version: int
    to_version: int
    epoch: int
    digest: str
    reason: str
    result: str
    state: AuditState
    server: str
    change: str
    code: str
    def __init__(self, sequence: _Optional[int] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., action: _Optional[str] = ..., model: _Optional[str] = ..., from_version: _Optional[int] = ..., to_version: _Optional[int] = ..., epoch: _Optional[int] = ..., digest: _Optional[str] = ..., reason: _Optional[str] = ..., result: _Optional[str] = ..., state: _Optional[_Union[AuditState, str]] = ..., server: _Optional[str] = ..., change: _Optional[str] = ..., code: _Optional[str] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("records", "unread")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[AuditRecord]
    unread: int
    def __init__(self, records: _Optional[_Iterable[_Union[AuditRecord, _Mapping]]] = ..., unread: _Optional[int] = ...) -> None: ...
