"""Which columns take known values only: learned from what the original refused, for a server to refuse as well."""

from collections.abc import Container
from typing import Any

from onnxpress.converters.gate.generators import seen_and_unseen, unseen_kind
from onnxpress.converters.gate.probe_rows import ProbeRows, no_value


def accepted_values(
    known: dict[str, tuple[Any, ...]], probe: ProbeRows, refused_kinds: Container[str]
) -> dict[str, tuple[str, ...]]:
    """Column -> the values it takes, numbers in decimal; only of columns where every other value was refused.

    `known` is what `Family.categories` says. A column that takes an unseen value, other than a missing one, is open.
    """
    closed = {}
    for index, name in enumerate(probe.names):
        seen, unseen = seen_and_unseen(known.get(name, ()), probe, index)
        refused = [value for value in unseen if unseen_kind(name, value) in refused_kinds]
        taken = [value for value in unseen if value not in refused]
        if not refused or any(value != "" for value in taken):
            continue
        if probe.datatypes[index] == "BYTES":
            missing = any(value is None for value in probe.column(index)) and no_value(name) not in refused_kinds
            closed[name] = tuple(dict.fromkeys([*map(str, seen), *taken, *([""] if missing else [])]))
        elif not probe.floats(index) or no_value(name) in refused_kinds:
            closed[name] = tuple(map(_decimal, seen))
    return closed


def _decimal(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)
