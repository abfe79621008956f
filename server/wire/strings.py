"""Decodes BYTES tensors."""

import struct

from onnxpress.server.errors import InvalidRequestError

_LENGTH = struct.Struct("<I")


def split_bytes(name: str, raw: bytes, count: int) -> list[bytes]:
    """The elements of a BYTES tensor: each a little-endian uint32 length and that many bytes.

    Raises InvalidRequestError, with `name` in the message, unless there are exactly `count` complete elements.
    """
    elements, at, size = [], 0, len(raw)
    while at + 4 <= size:
        start = at + 4
        at = start + _LENGTH.unpack_from(raw, at)[0]
        if at > size:
            break
        elements.append(raw[start:at])
    if at != size or len(elements) != count:
        raise InvalidRequestError(
            f"input {name!r} has invalid BYTES framing: "
            f"{len(elements)} complete elements in {size} bytes, expected {count}"
        )
    return elements
