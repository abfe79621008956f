"""The command `onnxpress audit`: verifies, exports and follows the audit log of a state folder, without a server."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from onnxpress.cli.options import RefusedError, output_option
from onnxpress.cli.output import print_json, printable

if TYPE_CHECKING:
    from onnxpress.server.versions.audit_chain import Place, Record
    from onnxpress.server.versions.audit_files import Part

FOLLOW_S = 0.5
LINES = 10
LOG = "audit/audit.jsonl"


@click.command
@click.argument("action", type=click.Choice(["verify", "export", "tail"]))
@click.argument("folder", type=click.Path(path_type=Path), metavar="STATE_DIR")
@click.option("--contains", default="", metavar="HASH", help="verify: the log must have the record with this hash")
@click.option("--lines", type=click.IntRange(0), default=LINES, show_default=True, metavar="N", help="tail: how many")
@click.option("--follow", is_flag=True, help="tail: go on with records that are written from now on, until Ctrl-C")
@output_option
def audit(action: str, folder: Path, contains: str, lines: int, follow: bool, output: str) -> None:
    """Reads the audit log in a server's state folder, such as models/.onnxpress; servers may be running.

    verify: every record's hash, and that each continues the one before, in all files; exit code 3 names the first that
    does not, or a file that is missing. A log whose end was cut off is consistent in itself: keep the newest hash
    elsewhere and ask for it with --contains. export: all records as JSON lines, verified while they are read.
    tail: the newest records, for people.
    """
    log = folder / "audit"
    with _files(log) as files:
        if not files:
            raise click.UsageError(f"{folder} holds no {LOG}: it is the server's state folder that is asked for")
        if action == "verify":
            _verify(log, files, contains.lower(), output)
        elif action == "export":
            _export(files)
        else:
            last = _tail(files, lines)
    if action == "tail" and follow:
        _follow(log, *last)


@contextmanager
def _files(log: Path) -> "Iterator[Sequence[Part]]":
    """The files of the log at this moment, oldest first; none where there is no log."""
    from onnxpress.server.versions.audit_files import parts

    if not log.is_dir():
        yield []
        return
    try:
        with parts(log) as files:
            yield files
    except OSError as error:
        raise click.ClickException(f"cannot read {error.filename or log}: {error.strerror}") from error


def _records(files: "Sequence[Part]", start: "Place | None" = None) -> "Iterator[tuple[Record, Part, Place]]":
    """As `verified_parts`, but raises RefusedError at the first record that is not valid."""
    from onnxpress.server.versions.audit_files import BrokenLogError, verified_parts

    try:
        yield from verified_parts(files, start)
    except BrokenLogError as error:
        raise RefusedError(f"refused: {files[0].path.with_name(error.file)}: {error}") from error


def _verify(log: Path, files: "Sequence[Part]", contains: str, output: str) -> None:
    count, newest, seen = 0, None, not contains
    for record, _, _ in _records(files):
        count, newest = count + 1, record
        seen = seen or record["hash"] == contains
    if not seen:
        raise RefusedError(f"refused: {log}: none of its {count} records has the hash {printable(contains)}")
    facts = {
        "log": str(log),
        "files": len(files),
        "records": count,
        "newest_at": newest["at"] if newest else None,
        "newest_hash": newest["hash"] if newest else None,
    }
    if output == "json":
        print_json("audit/v1", facts)
    else:
        where = f" in {len(files)} files" if len(files) > 1 else ""
        when = f"; the newest is of {newest['at']}" if newest else ""
        click.echo(f"{log}: {count:,} records{where} hold{when}")
        if newest:
            click.echo(f"hash {newest['hash']}")


def _export(files: "Sequence[Part]") -> None:
    from onnxpress.server.versions.audit_chain import line_of

    for record, _, _ in _records(files):
        click.echo(line_of(record), nl=False)


def _tail(files: "Sequence[Part]", lines: int) -> "tuple[int, Place | None]":
    """Prints the newest records; reads no older files than it needs. Returns where they end: inode and place."""
    from collections import deque

    from onnxpress.server.versions.audit_files import first_record, place_before

    found, first = 0, len(files)
    while first and found <= lines:
        first -= 1
        with files[first].opened() as file:
            found += sum(1 for _ in file)
            head = first_record(file) if first else None
    newest = deque["Record"](maxlen=lines)
    inode, place = files[-1].inode(), None
    for record, part, after in _records(files[first:], place_before(head) if head else None):
        newest.append(record)
        inode, place = part.inode(), after
    for record in newest:
        click.echo(_line(record))
    return inode, place


def _follow(log: Path, inode: int, place: "Place | None") -> None:
    """Prints records as they are written, across rotations."""
    pause = Event()
    while True:
        with _files(log) as files:
            # What was read last may be an archive by now.
            read = next((number for number, part in enumerate(files) if part.inode() == inode), None)
            seen = place.sequence if place else 0
            for record, part, after in _records(files[read or 0 :], place if read is not None else None):
                inode, place = part.inode(), after
                if record["sequence"] > seen:
                    click.echo(_line(record))
        pause.wait(FOLLOW_S)


def _line(record: "Record") -> str:
    change = f"{printable(record['action']):<9} {record['from_version']} -> {record['to_version']}"
    code = f" ({record['code']})" if record.get("code") else ""
    result = f"{record.get('state', '')}  {printable(record['result'])}{code}  by {printable(record['actor'])}"
    why = f"  {record['reason']!r}" if record["reason"] else ""
    head = f"{record['sequence']:>6}  {record['at'][:19]}  {printable(record['model'])}  {change}"
    return f"{head}  epoch {record['epoch']}  {result}{why}"
