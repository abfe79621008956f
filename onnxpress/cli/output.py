"""The output of commands: a JSON object for programs, a table on a terminal, stable lines elsewhere."""

import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import Console
    from rich.table import Table

STATE_STYLES = {"ready": "green", "failed": "red", "loading": "yellow", "draining": "yellow"}
LABEL_WIDTH = 10
GAP = 3  # between the columns of a table
FOLDED_MIN = 16  # what the last column of a table needs to be read


def print_json(schema: str, facts: Mapping[str, Any]) -> None:
    """Prints one object; `schema` names its shape and the shape's version, such as onnxpress.status/v1."""
    click.echo(json.dumps({"schema": f"onnxpress.{schema}", **facts}, indent=2))


def facts_of(message: "Message") -> dict[str, Any]:
    """A message by its field names: numbers as numbers, states in lower case, times in ISO 8601 UTC, null for unset."""
    return {field.name: _fact(message, field) for field in message.DESCRIPTOR.fields}


def _fact(message: "Message", field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [facts_of(one) if field.message_type else one for one in value]
    if field.enum_type:
        name = field.enum_type.values_by_number[value].name
        return name.removeprefix(_snake(field.enum_type.name).upper() + "_").lower()
    if field.has_presence and not message.HasField(field.name):
        return None
    if field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
        return value.ToDatetime(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return facts_of(value) if field.message_type else value


def _snake(name: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in name).lstrip("_")


def printable(text: str) -> str:
    """External text on one line: control characters, which could move the cursor or change colours, are escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def print_fields(pairs: Iterable[tuple[str, str]]) -> None:
    """A label and a value on each line; long values are folded on a terminal."""
    console = terminal(sys.stdout)
    if console is None:
        for label, value in pairs:
            click.echo(f"{label:<{LABEL_WIDTH}} {value}".rstrip())
        return
    console.print(_grid(pairs))


def _grid(pairs: Iterable[tuple[str, str]]) -> "Table":
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in pairs:
        grid.add_row(label, value)
    return grid


def print_table(
    console: "Console", columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], title: str = ""
) -> None:
    """Prints rows of a style and cells, no wider than the terminal: only the last column is folded.

    If that leaves too little room for it, each row is a block of lines, one for each cell that has a label.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table

    rows = list(rows)
    whole = [max(map(cell_len, column)) for column in zip(columns, *(cells for _, cells in rows), strict=True)][:-1]
    if sum(whole) + GAP * len(whole) + FOLDED_MIN > console.width:
        if title:
            console.print(title, style="bold")
        for style, cells in rows:
            block = [(label, cell) for label, cell in zip(columns, cells, strict=True) if label and cell]
            console.print(_grid(block), style=style)
            console.print()
        return
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for style, cells in rows:
        table.add_row(*cells, style=style)
    console.print(table)


def terminal(stream: TextIO) -> "Console | None":
    """The terminal of `stream`; None for a file or a pipe, or if rich is not installed.

    Rich reads NO_COLOR, TERM and the terminal's width. Markup is off, since names are external text.
    """
    if not stream.isatty() or importlib.util.find_spec("rich") is None:
        return None
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)
