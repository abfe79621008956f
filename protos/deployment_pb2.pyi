import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RolloutState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLLOUT_STATE_UNSPECIFIED: _ClassVar[RolloutState]
    ROLLOUT_STATE_RUNNING: _ClassVar[RolloutState]
    ROLLOUT_STATE_PAUSED: _ClassVar[RolloutState]
    ROLLOUT_STATE_PROMOTED: _ClassVar[RolloutState]
    ROLLOUT_STATE_ROLLED_BACK: _ClassVar[RolloutState]
    ROLLOUT_STATE_ABORTED: _ClassVar[RolloutState]
ROLLOUT_STATE_UNSPECIFIED: RolloutState
ROLLOUT_STATE_RUNNING: RolloutState
ROLLOUT_STATE_PAUSED: RolloutState
ROLLOUT_STATE_PROMOTED: RolloutState
ROLLOUT_STATE_ROLLED_BACK: RolloutState
ROLLOUT_STATE_ABORTED: RolloutState

class Deployment(_message.Message):
    __slots__ = ("model", "epoch", "live_version", "previous_version", "reason", "actor", "updated_at", "history", "changes", "rollout")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LIVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    model: str
    epoch: int
    live_version: int
    previous_version: int
    reason: str
    actor: str
    updated_at: _timestamp_pb2.Timestamp
    history: _containers.RepeatedScalarFieldContainer[int]
    changes: _containers.RepeatedScalarFieldContainer[str]
    rollout: Rollout
    def __init__(self, model: _Optional[str] = ..., epoch: _Optional[int] = ..., live_version: _Optional[int] = ..., previous_version: _Optional[int] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., history: _Optional[_Iterable[int]] = ..., changes: _Optional[_Iterable[str]] = ..., rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("id", "candidate", "steps", "step", "step_since", "state", "reason", "guards", "advance_without_evidence", "shadow", "hold")
    ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_SINCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GUARDS_FIELD_NUMBER: _ClassVar[int]
    ADVANCE_WITHOUT_EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    id: int
    candidate: int
    steps: _containers.RepeatedCompositeFieldContainer[RolloutStep]
    step: int
    step_since: _timestamp_pb2.Timestamp
    state: RolloutState
    reason: str
    guards: _containers.RepeatedCompositeFieldContainer[GuardPolicy]
    advance_without_evidence: bool
    shadow: float
    hold: bool
    def __init__(self, id: _Optional[int] = ..., candidate: _Optional[int] = ..., steps: _Optional[_Iterable[_Union[RolloutStep, _Mapping]]] = ..., step: _Optional[int] = ..., step_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[RolloutState, str]] = ..., reason: _Optional[str] = ..., guards: _Optional[_Iterable[_Union[GuardPolicy, _Mapping]]] = ..., advance_without_evidence: bool = ..., shadow: _Optional[float] = ..., hold: bool = ...) -> None: ...

class RolloutStep(_message.Message):
    __slots__ = ("weight", "baking_s", "calls_min")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    BAKING_S_FIELD_NUMBER: _ClassVar[int]
    CALLS_MIN_FIELD_NUMBER: _ClassVar[int]
    weight: float
    baking_s: int
    calls_min: int
    def __init__(self, weight: _Optional[float] = ..., baking_s: _Optional[int] = ..., calls_min: _Optional[int] = ...) -> None: ...

class GuardPolicy(_message.Message):
    __slots__ = ("guard", "off", "floor")
    GUARD_FIELD_NUMBER: _ClassVar[int]
    OFF_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    guard: str
    off: bool
    floor: float
    def __init__(self, guard: _Optional[str] = ..., off: bool = ..., floor: _Optional[float] = ...) -> None: ...
