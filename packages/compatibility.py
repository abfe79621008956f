"""Compares what two versions of a model take and answer: may a caller of the one call the other? Pure: no I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from onnxpress.protos.package_pb2 import Feature, Layout, Manifest

ANY = -1  # a dimension of any size
SHOWN_MAX = 5


class Level(StrEnum):
    """How a version fits the callers of another one.

    COMPATIBLE: every call that the former answered is answered, in the same form. ADDITIVE: the same, and more is
    answered or accepted. BREAKING: some callers must change.
    """

    COMPATIBLE = "compatible"
    ADDITIVE = "additive"
    BREAKING = "breaking"


class TensorLike(Protocol):
    """An input or output: of a manifest, a session or a server's signature."""

    @property
    def name(self) -> str: ...

    @property
    def datatype(self) -> str: ...

    @property
    def shape(self) -> Iterable[int]: ...


@dataclass(frozen=True)
class Port:
    """An input or output; shape: -1 for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Interface:
    """What callers of a version rely on.

    features: the columns of a matrix input in order, empty if they are unknown or if each is an input of its own.
    accepts: the values that a column is limited to, by column. classes: of the columns of `probabilities`.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    features: tuple[str, ...] = ()
    accepts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compatibility:
    """The result of a comparison: a sentence for each thing that breaks callers, and for each that is new to them."""

    breaking: tuple[str, ...] = ()
    additions: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        return Level.BREAKING if self.breaking else Level.ADDITIVE if self.additions else Level.COMPATIBLE


def interface_of(
    manifest: Manifest, inputs: Iterable[TensorLike] = (), outputs: Iterable[TensorLike] = ()
) -> Interface:
    """The interface of a version. `inputs` and `outputs` are those of its session, which a bare model needs."""
    return Interface(
        _ports(inputs) or _ports(manifest.inputs),
        _ports(outputs) or _ports(manifest.outputs),
        tuple(one.name for one in manifest.features) if manifest.layout == Layout.MATRIX else (),
        tuple((one.name, _values(one)) for one in manifest.features if one.accepts),
        tuple(manifest.classes),
    )


def compare(former: Interface, latter: Interface) -> Compatibility:
    """Whether the callers of `former` may call `latter` unchanged."""
    breaking: list[str] = []
    additions: list[str] = []
    _compare_inputs(former, latter, breaking, additions)
    _compare_features(former, latter, breaking)
    _compare_outputs(former, latter, breaking, additions)
    _compare_accepted(former, latter, breaking, additions)
    _compare_classes(former, latter, breaking)
    return Compatibility(tuple(breaking), tuple(additions))


def _ports(tensors: Iterable[TensorLike]) -> tuple[Port, ...]:
    return tuple(Port(one.name, one.datatype, tuple(one.shape)) for one in tensors)


def _compare_inputs(former: Interface, latter: Interface, breaking: list[str], additions: list[str]) -> None:
    known, new = ({port.name: port for port in one.inputs} for one in (former, latter))
    # Requests name an input that the version does not have, or lack one that it needs: both are refused.
    breaking += [f"input {name!r} was removed" for name in known if name not in new]
    breaking += [f"input {name!r} is newly required" for name in new if name not in known]
    for name in (name for name in known if name in new):
        before, after = known[name], new[name]
        if before.datatype != after.datatype:
            breaking.append(f"input {name!r} was {before.datatype} and is {after.datatype}")
        if before.shape == after.shape:
            continue
        change = f"input {name!r} had shape {list(before.shape)} and has {list(after.shape)}"
        (additions if _covers(after.shape, before.shape) else breaking).append(change)


def _compare_features(former: Interface, latter: Interface, breaking: list[str]) -> None:
    """The columns of a matrix have no names in a request, so another order is answered without an error, and wrong."""
    before, after = former.features, latter.features
    if not before or not after or before == after:
        return
    removed, added = [one for one in before if one not in after], [one for one in after if one not in before]
    if removed:
        breaking.append(f"the matrix lost the columns {_listed(removed)}")
    if added:
        breaking.append(f"the matrix newly requires the columns {_listed(added)}")
    if not removed and not added:
        place = next(index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new)
        breaking.append(
            f"the matrix has its columns in another order: column {place} was {before[place]!r} and is {after[place]!r}"
        )


def _compare_outputs(former: Interface, latter: Interface, breaking: list[str], additions: list[str]) -> None:
    known, new = ({port.name: port for port in one.outputs} for one in (former, latter))
    breaking += [f"output {name!r} was removed" for name in known if name not in new]
    additions += [f"output {name!r} is new" for name in new if name not in known]
    kept = [name for name in known if name in new]
    if len(kept) == len(known) and list(new)[: len(known)] != list(known):
        # Answers carry raw contents by position.
        breaking.append(f"the outputs were {_listed(known)} in this order and are {_listed(new)}")
    for name in kept:
        before, after = known[name], new[name]
        if before.datatype != after.datatype:
            breaking.append(f"output {name!r} was {before.datatype} and is {after.datatype}")
        if before.shape != after.shape and not _covers(before.shape, after.shape):
            breaking.append(f"output {name!r} had shape {list(before.shape)} and has {list(after.shape)}")


def _compare_accepted(former: Interface, latter: Interface, breaking: list[str], additions: list[str]) -> None:
    known, new = (_columns(one) for one in (former, latter))
    before, after = dict(former.accepts), dict(latter.accepts)
    for name in (name for name in known if name in new):  # others are told above
        old, now = before.get(name, ()), after.get(name, ())
        if now and not old:
            breaking.append(f"column {name!r} took every value and takes only {_listed(now)}")
        elif now and (lost := [value for value in old if value not in now]):
            breaking.append(f"column {name!r} no longer takes {_listed(lost)}")
        if old and not now:
            additions.append(f"column {name!r} takes every value")
        elif old and (gained := [value for value in now if value not in old]):
            additions.append(f"column {name!r} also takes {_listed(gained)}")


def _columns(one: Interface) -> list[str]:
    return list(one.features) or [port.name for port in one.inputs]


def _compare_classes(former: Interface, latter: Interface, breaking: list[str]) -> None:
    if former.classes and latter.classes and former.classes != latter.classes:
        breaking.append(
            f"the classes were {_listed(former.classes)} in this order and are {_listed(latter.classes)}: "
            "the columns of 'probabilities' mean something else"
        )


def _covers(wide: Sequence[int], narrow: Sequence[int]) -> bool:
    """Whether every shape that `narrow` describes is one that `wide` describes."""
    return len(wide) == len(narrow) and all(one in (ANY, other) for one, other in zip(wide, narrow, strict=True))


def _values(column: Feature) -> tuple[str, ...]:
    """Accepted values; numbers in one spelling, since 1 and 1.0 are one number."""
    if column.datatype == "BYTES":
        return tuple(column.accepts)
    return tuple(f"{float(text):.17g}" for text in column.accepts)


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - SHOWN_MAX} more" if len(listed) > SHOWN_MAX else ""
    return ", ".join(map(repr, listed[:SHOWN_MAX])) + more
