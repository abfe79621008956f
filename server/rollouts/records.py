"""Recorded windows as lines of JSON: what a rollout counted, and what was decided on it. Pure: no I/O, no clock."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from operator import methodcaller
from typing import Any, Final, TypeVar, cast

from onnxpress.server.rollouts.windows import Window
from onnxpress.server.versions.rollout import RolloutAction

FORMAT: Final = 1
# Longer lines than any window takes are damage.
LINE_MAX: Final = 64 * 1024
NO_WINDOW: Final = Window()
T = TypeVar("T")


@dataclass(frozen=True)
class Header:
    """Of which rollout the windows are: its model, its id, and the digests of its versions."""

    model: str
    rollout: int
    champion: str
    candidate: str


@dataclass(frozen=True)
class Entry:
    """A window that was closed, and what `decide` was asked and answered.

    seq: counts windows from 1. time: when it ended, in seconds since 1970. step_s: seconds since the step began;
    paused: the rollout was. action: empty to hold. edges: of the bins of scores, from this window on; empty if they are
    those of the windows before. merged: how many windows this is the sum of.
    """

    seq: int = 0
    time: float = 0.0
    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    step_s: float = 0.0
    paused: bool = False
    action: str = ""
    edges: tuple[float, ...] = ()
    merged: int = 1
    window: Window = NO_WINDOW

    @property
    def decided(self) -> RolloutAction | None:
        return RolloutAction(self.action) if self.action else None


def to_line(record: Header | Entry) -> bytes:
    """One line, with its newline. Fields that have their default are left out, so most windows take few bytes."""
    told = {"format": FORMAT, **asdict(record)} if isinstance(record, Header) else _changed(record)
    return json.dumps(told, separators=(",", ":"), default=methodcaller("item")).encode() + b"\n"


def header_of(line: bytes) -> Header:
    """Raises ValueError."""
    told = _parsed(line)
    if told.get("format") != FORMAT:
        raise ValueError(f"format {FORMAT} was expected")
    if missing := {field.name for field in fields(Header)} - set(told):
        raise ValueError(f"{min(missing)} is missing")
    return _read(Header("", 0, "", ""), told)


def entry_of(line: bytes) -> Entry:
    """Fields that are missing have their default, and unknown ones are ignored. Raises ValueError."""
    entry = _read(Entry(), _parsed(line))
    if entry.action and entry.action not in {action.value for action in RolloutAction}:
        raise ValueError("the action is unknown")
    return entry


def merged_in_pairs(entries: Sequence[Entry]) -> list[Entry]:
    """Half as many entries, with the same counts: neighbours of one step become one, where nothing was done between.

    Which windows are merged does not depend on what they say, so their evidence stays valid; it is a little less where
    a merged window reaches the most that one window adds.
    """
    made: list[Entry] = []
    waiting: Entry | None = None
    for entry in entries:
        if waiting is None:
            waiting = entry
        elif waiting.action or (waiting.step, waiting.paused) != (entry.step, entry.paused):
            made.append(waiting)
            waiting = entry
        else:
            made.append(_sum(waiting, entry))
            waiting = None
    return made if waiting is None else [*made, waiting]


def lost(entries: Iterable[Entry]) -> int:
    """How many windows are missing between these."""
    missing = before = 0
    for entry in entries:
        missing += max(0, entry.seq - entry.merged - before)
        before = entry.seq
    return missing


def _sum(one: Entry, two: Entry) -> Entry:
    return replace(
        two,
        seconds=one.seconds + two.seconds,
        edges=two.edges or one.edges,
        merged=one.merged + two.merged,
        window=one.window + two.window,
    )


def _parsed(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n") or len(line) > LINE_MAX:
        raise ValueError("the line is torn")
    try:
        told = json.loads(line)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(told, dict):
        raise ValueError("an object was expected")  # noqa: TRY004 -- of a file, not of a caller
    return cast("dict[str, Any]", told)


def _changed(record: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their default, nested ones likewise."""
    told = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if value != field.default:
            told[field.name] = _changed(value) if is_dataclass(value) else value
    return told


def _read(default: T, told: Any) -> T:
    """`told` as a value of the same kind as `default`. Raises ValueError."""
    wrong = ValueError(f"{type(default).__name__} was expected")
    if is_dataclass(default):
        if not isinstance(told, dict):
            raise wrong
        known: Any = default
        return cast(
            "T",
            replace(known, **{
                field.name: _read(getattr(known, field.name), told[field.name])
                for field in fields(known)
                if field.name in told
            }),
        )  # fmt: skip
    if isinstance(default, tuple):
        if not isinstance(told, list) or (default and len(told) != len(default)):
            raise wrong
        kinds = default or (0.0,) * len(told)
        return cast("T", tuple(_read(kind, value) for kind, value in zip(kinds, told, strict=True)))
    if isinstance(default, float) and isinstance(told, int | float) and not isinstance(told, bool):
        return cast("T", float(told))
    if type(told) is not type(default) or (isinstance(told, int) and told < 0):
        raise wrong
    return told
