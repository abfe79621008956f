"""The command `onnxpress audit`: verifies, exports and follows the audit log of a state folder, without a server."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from onnxpress.cli.options import RefusedError, output_option
from onnxpress.cli.output import print_json, printable

if TYPE_CHECKING:
    from onnxpress.server.versions.audit_chain import Place, Record

FOLLOW_S = 0.5
LINES = 10


@click.command
@click.argument("action", type=click.Choice(["verify", "export", "tail"]))
@click.argument("folder", type=click.Path(path_type=Path), metavar="STATE_DIR")
@click.option("--contains", default="", metavar="HASH", help="verify: the log must have the record with this hash")
@click.option("--lines", type=click.IntRange(0), default=LINES, show_default=True, metavar="N", help="tail: how many")
@click.option("--follow", is_flag=True, help="tail: go on with records that are written from now on, until Ctrl-C")
@output_option
def audit(action: str, folder: Path, contains: str, lines: int, follow: bool, output: str) -> None:
    """Reads the audit log in a server's state folder, such as models/.onnxpress; servers may be running.

    verify: every record's hash, and that each continues the one before; exit code 3 names the first that does not. A
    log whose end was cut off is consistent in itself: keep the newest hash elsewhere and ask for it with --contains.
    export: all records as JSON lines, verified while they are read. tail: the newest records, for people.
    """
    from onnxpress.server.versions.audit import AUDIT_FILE

    path = folder / "audit" / AUDIT_FILE
    if not path.is_file():
        raise click.UsageError(
            f"{folder} holds no audit/{AUDIT_FILE}: it is the server's state folder that is asked for"
        )
    if action == "verify":
        _verify(path, contains.lower(), output)
    elif action == "export":
        _export(path)
    else:
        _tail(path, lines, follow=follow)


def _records(path: Path, start: "Place | None" = None) -> "Iterator[tuple[Record, Place]]":
    """Every complete record from `start` on. Raises RefusedError at the first that does not hold."""
    from onnxpress.server.versions.audit_chain import BrokenChainError, Place, verified

    try:
        with path.open("rb") as file:
            yield from verified(file, start or Place())
    except BrokenChainError as error:
        raise RefusedError(f"refused: {path}: {error}") from error
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from error


def _verify(path: Path, contains: str, output: str) -> None:
    count, newest, seen = 0, None, not contains
    for record, _ in _records(path):
        count, newest = count + 1, record
        seen = seen or record["hash"] == contains
    if not seen:
        raise RefusedError(f"refused: {path}: none of its {count} records has the hash {printable(contains)}")
    facts = {
        "log": str(path),
        "records": count,
        "newest_at": newest["at"] if newest else None,
        "newest_hash": newest["hash"] if newest else None,
    }
    if output == "json":
        print_json("audit/v1", facts)
    else:
        click.echo(f"{path}: {count:,} records hold" + (f"; the newest is of {newest['at']}" if newest else ""))
        if newest:
            click.echo(f"hash {newest['hash']}")


def _export(path: Path) -> None:
    from onnxpress.server.versions.audit_chain import line_of

    for record, _ in _records(path):
        click.echo(line_of(record), nl=False)


def _tail(path: Path, lines: int, *, follow: bool) -> None:
    from collections import deque

    from onnxpress.server.versions.audit_chain import Place

    place, newest = Place(), deque["Record"](maxlen=lines)
    for record, after in _records(path):
        place = after
        newest.append(record)
    for record in newest:
        click.echo(_line(record))
    pause = Event()
    while follow:
        for record, after in _records(path, place):
            place = after
            click.echo(_line(record))
        pause.wait(FOLLOW_S)


def _line(record: "Record") -> str:
    change = f"{record['action']:<9} {record['from_version']} -> {record['to_version']}"
    result = f"{record.get('state', '')}  {printable(record['result'])}  by {printable(record['actor'])}"
    why = f"  {record['reason']!r}" if record["reason"] else ""
    head = f"{record['sequence']:>6}  {record['at'][:19]}  {printable(record['model'])}  {change}"
    return f"{head}  epoch {record['epoch']}  {result}{why}"
