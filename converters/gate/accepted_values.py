"""The columns that accept known values only, derived from the original's refusals, so that a server refuses too."""

from collections.abc import Container
from typing import Any

from onnxpress.converters.gate.generators import seen_and_unseen, unseen_kind
from onnxpress.converters.gate.probe_rows import ProbeRows, no_value


def accepted_values(
    known: dict[str, tuple[Any, ...]], probe: ProbeRows, refused_kinds: Container[str]
) -> dict[str, tuple[str, ...]]:
    """Column -> the accepted values, numbers in decimal; only of columns where every other value was refused.

    `known` is `Subject.categories()`. A column that accepts an unknown value, other than a missing one, is left out.
    """
    accepted = {}
    for index, name in enumerate(probe.names):
        seen, unseen = seen_and_unseen(known.get(name, ()), probe, index)
        refused = [value for value in unseen if unseen_kind(name, value) in refused_kinds]
        taken = [value for value in unseen if value not in refused]
        if not refused or any(value != "" for value in taken):
            continue
        if probe.datatypes[index] == "BYTES":
            missing = any(value is None for value in probe.column(index)) and no_value(name) not in refused_kinds
            accepted[name] = tuple(dict.fromkeys([*map(str, seen), *taken, *([""] if missing else [])]))
        elif not probe.floats(index) or no_value(name) in refused_kinds:
            accepted[name] = tuple(map(_decimal, seen))
    return accepted


def _decimal(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)
