"""Which columns take known values only: learned from what the original refused, for a server to refuse as well."""

from collections.abc import Container
from typing import Any

from onnxpress.converters.gate.generators import seen_and_unseen, unseen_kind
from onnxpress.converters.gate.probe_rows import Table, no_value


def closed_columns(
    known: dict[str, tuple[Any, ...]], table: Table, refused_kinds: Container[str]
) -> dict[str, tuple[str, ...]]:
    """Column -> the values it takes, numbers in decimal; only of columns where every other value was refused.

    `known` is what `Family.categories` says. A column that takes an unseen value, other than a missing one, is open.
    """
    closed = {}
    for index, name in enumerate(table.names):
        seen, unseen = seen_and_unseen(known.get(name, ()), table, index)
        refused = [value for value in unseen if unseen_kind(name, value) in refused_kinds]
        taken = [value for value in unseen if value not in refused]
        if not refused or any(value != "" for value in taken):
            continue
        if table.datatypes[index] == "BYTES":
            missing = any(value is None for value in table.column(index)) and no_value(name) not in refused_kinds
            closed[name] = tuple(dict.fromkeys([*map(str, seen), *taken, *([""] if missing else [])]))
        elif not table.floats(index) or no_value(name) in refused_kinds:
            closed[name] = tuple(map(_decimal, seen))
    return closed


def _decimal(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)
