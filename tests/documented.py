"""The shapes of `--output json`, as docs/cli.md documents them."""

import re
from typing import Any

from tests.server_process import ROOT

PAGE = "docs/cli.md"
NUMBERS = {"integer": int, "number": (int, float), "text": str, "boolean": bool, "object": dict}


def documented(schema: str) -> dict[str, str]:
    """Key -> type of a schema's table; nested keys as `models[].epoch`."""
    text = (ROOT / PAGE).read_text()
    section = re.search(rf"^### `{re.escape(schema)}`$(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"{PAGE} has no section {schema}"
    return dict(re.findall(r"^\| `([\w\[\].]+)` \| ([\w ]+) \|", section[1], re.MULTILINE))


def check_documented(told: dict[str, Any]) -> None:
    """The keys printed are those documented, no more and no fewer, and each value has its type."""
    printed = dict(_flat({key: value for key, value in told.items() if key != "schema"}, ""))
    promised = documented(told["schema"])
    assert set(printed) == set(promised)
    for key, values in printed.items():
        kind, optional = promised[key].removesuffix(" or null"), promised[key].endswith(" or null")
        for value in values:
            if value is None:
                assert optional, key
                continue
            if kind == "list":
                assert isinstance(value, list), key
            elif kind == "time":
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value), key
            else:
                assert isinstance(value, NUMBERS[kind]), key
                assert kind == "boolean" or not isinstance(value, bool), key


def _flat(told: dict[str, Any], path: str) -> list[tuple[str, list[Any]]]:
    """Each key with every value it has; objects in lists are looked into, and need one example at least."""
    found: dict[str, list[Any]] = {}
    for key, value in told.items():
        found.setdefault(path + key, []).append(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value:
                for inner, values in _flat(one, f"{path}{key}[]."):
                    found.setdefault(inner, []).extend(values)
    return list(found.items())
