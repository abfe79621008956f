"""The chain of records: what is verified, and how it is read."""

import io
from typing import Any

import pytest

from onnxpress.server.versions import audit_chain
from onnxpress.server.versions.audit_chain import (
    NO_HASH,
    BrokenChainError,
    Place,
    Record,
    backwards,
    line_of,
    record_hash,
    seal,
    verified,
)


def chain(count: int) -> list[bytes]:
    """Lines of a right chain."""
    lines, place = [], Place()
    for number in range(count):
        record: Record = {
            "at": "2026-11-23T07:05:07+00:00", "actor": "ada", "action": "deploy", "model": "größe",
            "from_version": number, "to_version": number + 1, "epoch": 1, "digest": "", "reason": "", "result": "ok",
        }  # fmt: skip
        sealed, line = seal(record, place)
        lines.append(line)
        place = Place(place.offset + len(line), place.line + 1, sealed["sequence"], sealed["hash"])
    return lines


def read(raw: bytes, place: Place | None = None) -> list[tuple[Record, Place]]:
    return list(verified(io.BytesIO(raw), place or Place()))


def test_a_right_chain_is_read() -> None:
    """Numbers and hashes continue each other, from the start or from any place in between."""
    lines = chain(3)
    found = read(b"".join(lines))
    assert [record["sequence"] for record, _ in found] == [1, 2, 3]
    assert [record["previous"] for record, _ in found] == [NO_HASH, found[0][0]["hash"], found[1][0]["hash"]]
    assert found[-1][1].offset == len(b"".join(lines))
    assert read(b"".join(lines), found[0][1]) == found[1:]


def test_every_flipped_bit_is_found() -> None:
    """Whichever bit of whichever byte of a file is flipped, the first wrong record is named by line and offset."""
    lines = chain(3)
    raw = b"".join(lines)
    starts = [0, len(lines[0]), len(lines[0]) + len(lines[1])]
    for at in range(len(raw)):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << at % 8
        wrong = max(number for number, start in enumerate(starts) if start <= at)
        with pytest.raises(BrokenChainError, match=f"^line {wrong + 1}, bytes {starts[wrong]} to ") as broken:
            read(bytes(flipped))
        assert (broken.value.good.line, broken.value.good.offset) == (wrong, starts[wrong])


def test_space_that_means_nothing_counts_too() -> None:
    """A byte that JSON does not care about is found as well."""
    one, two = chain(2)
    with pytest.raises(BrokenChainError, match=r"^line 2, .*its bytes are not those that were written"):
        read(one + two.replace(b'", "', b'",\t"', 1))


def test_a_missing_or_foreign_record_breaks_the_chain() -> None:
    """A record that was taken out, or stands twice, or has another number is found."""
    one, two, three = chain(3)
    for raw, line in ((one + three, 2), (two + three, 1), (one + one, 2), (one + two + two, 3)):
        with pytest.raises(BrokenChainError, match=f"^line {line}, .*does not continue the record before"):
            read(raw)
    record: dict[str, Any] = {**read(one)[0][0], "sequence": 5}
    record["hash"] = record_hash(record)
    with pytest.raises(BrokenChainError, match="it is record 5, not 1"):
        read(line_of(record))


@pytest.mark.parametrize("broken", [b"not json\n", b"{}\n", b"[]\n", b"3\n", b'{"sequence": 2}\n', b"\n", b"\xff\n"])
def test_what_is_no_record_breaks_the_chain(broken: bytes) -> None:
    """A line that cannot be read is named by its number."""
    with pytest.raises(BrokenChainError, match=r"^line 2, bytes "):
        read(chain(1)[0] + broken)


def test_half_a_line_at_the_end_is_left_out() -> None:
    """A record that was being written when its server was killed is no break."""
    one, two = chain(2)
    for torn in (two[:1], two[:40], two[:-2], b"\xff"):
        assert len(read(one + torn)) == 1


@pytest.mark.parametrize("block", [1, 7, 300, 1 << 16])
def test_backwards(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Lines come newest first with their offsets, whatever the size of a block; half a line at the end is left out."""
    monkeypatch.setattr(audit_chain, "BLOCK_BYTES", block)
    lines = chain(4)
    offsets = [sum(map(len, lines[:number])) for number in range(4)]
    assert list(backwards(io.BytesIO(b"".join(lines)))) == list(zip(offsets, lines, strict=True))[::-1]
    assert list(backwards(io.BytesIO(b"".join(lines) + b"{half"))) == list(zip(offsets, lines, strict=True))[::-1]
    assert list(backwards(io.BytesIO(b""))) == []
