"""Requests that a server must refuse, and how: the table of the protocol, one row per way to be wrong.

Imports no generated messages: the caller brings `pb`, a module that has ModelInferRequest.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.answers import number_rows

Message = Any


@dataclass(frozen=True)
class Row:
    """`base` is the right request that `change` spoils; the answer has `code`, its message all of `words`."""

    name: str
    code: str
    base: str
    change: Callable[[Message], object]
    words: tuple[str, ...]


def right(pb: Any, base: str) -> Message:
    """A request that is answered: `numbers` raw, or `churn` typed or raw."""
    request = pb.ModelInferRequest(model_name=base.partition(" ")[0])
    if base == "numbers":
        request.inputs.add(name="input", datatype="FP32", shape=[2, 30])
        request.raw_input_contents.append(number_rows(2).tobytes())
        return request
    values = {
        "contract": [b"monthly", b"yearly"],
        "city": ["Köln".encode(), b""],
        "charges": [5.5, 80.25],
        "tenure": [1, 2],
    }
    fields = {
        "contract": "bytes_contents",
        "city": "bytes_contents",
        "charges": "fp64_contents",
        "tenure": "int64_contents",
    }
    kinds = {"bytes_contents": "BYTES", "fp64_contents": "FP64", "int64_contents": "INT64"}
    for name, field in fields.items():
        tensor = request.inputs.add(name=name, datatype=kinds[field], shape=[2, 1])
        if base == "churn typed":
            getattr(tensor.contents, field).extend(values[name])
        elif field == "bytes_contents":
            request.raw_input_contents.append(b"".join(struct.pack("<I", len(v)) + v for v in values[name]))
        else:
            request.raw_input_contents.append(
                np.array(values[name], "<f8" if field == "fp64_contents" else "<i8").tobytes()
            )
    return request


def _put(path: str, value: Any) -> Callable[[Message], object]:
    """Sets `model_version`, `inputs.0.shape` and the like."""

    def change(message: Message) -> None:
        *steps, last = path.split(".")
        for step in steps:
            message = message[int(step)] if step.isdigit() else getattr(message, step)
        if last.isdigit():
            message[int(last)] = value
        elif isinstance(value, list):
            field = getattr(message, last)
            del field[:]
            field.extend(value)
        else:
            setattr(message, last, value)

    return change


def _drop_input(message: Message) -> None:
    del message.inputs[1]
    del message.raw_input_contents[1]


def _twice(message: Message) -> None:
    message.inputs.append(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])


def _extra_input(message: Message) -> None:
    message.inputs.add(name="colour", datatype="FP32", shape=[2, 1])
    message.raw_input_contents.append(bytes(8))


def _outputs(*names: str) -> Callable[[Message], object]:
    return lambda message: [message.outputs.add(name=name) for name in names]


def _framed(raw: bytes) -> Callable[[Message], object]:
    return _put("raw_input_contents.1", raw)


def _two(first: bytes, second: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in (first, second))


def _other_contents(message: Message) -> None:
    message.inputs[2].contents.ClearField("fp64_contents")
    message.inputs[2].contents.fp32_contents.extend([5.5, 80.25])


def _overflow(message: Message) -> None:
    message.inputs[2].contents.fp64_contents.extend([1.0, 2.0])


BAD, MISSING, LATER = "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"
BIG = [2**33, 30]
ROWS = (
    Row("unknown model", MISSING, "numbers", _put("model_name", "nosuch"), ("nosuch", "churn", "numbers")),
    Row("empty model name", MISSING, "numbers", _put("model_name", ""), ("''", "numbers")),
    Row("a path as model name", MISSING, "numbers", _put("model_name", "../numbers"), ("../numbers",)),
    Row("unknown version", MISSING, "numbers", _put("model_version", "99"), ("numbers", "99", "1, 2")),
    Row("the highest version", MISSING, "numbers", _put("model_version", "9" * 18), ("numbers", "9" * 18)),
    Row("version that failed", LATER, "broken", _put("model_version", "1"), ("broken", "version 1", "failed", "ONNX")),
    Row("model without a ready version", LATER, "broken", _put("model_version", ""), ("broken", "failed", "ONNX")),
    Row("version not loaded", LATER, "price", _put("model_version", "2"), ("price", "version 2", "not loaded")),
    *(
        Row(
            f"version {text!r}",
            BAD,
            "numbers",
            _put("model_version", text),
            ("model_version", "positive integer", text),
        )
        for text in ("0", "-1", "01", "1.5", "newest", "²", " 1", "9" * 30)
    ),
    Row("missing input", BAD, "churn raw", _drop_input, ("missing", "city", "contract", "charges", "tenure")),
    Row("no inputs", BAD, "numbers", _put("inputs", []), ("missing", "input")),
    Row("unexpected input", BAD, "churn raw", _extra_input, ("unexpected", "colour", "expected", "contract")),
    Row("duplicate input", BAD, "churn raw", _twice, ("duplicate", "contract")),
    Row(
        "renamed input",
        BAD,
        "numbers",
        _put("inputs.0.name", "inputs"),
        ("unexpected", "'inputs'", "missing", "'input'"),
    ),
    Row("unexpected output", BAD, "numbers", _outputs("score"), ("output", "score", "label", "probabilities")),
    Row("duplicate output", BAD, "numbers", _outputs("label", "label"), ("duplicate", "label")),
    Row("wrong datatype", BAD, "numbers", _put("inputs.0.datatype", "FP64"), ("'input'", "FP64", "FP32")),
    Row("no datatype", BAD, "numbers", _put("inputs.0.datatype", ""), ("'input'", "FP32")),
    Row("too wide", BAD, "numbers", _put("inputs.0.shape", [2, 31]), ("'input'", "[2, 31]", "[-1, 30]")),
    Row("one dimension", BAD, "numbers", _put("inputs.0.shape", [60]), ("'input'", "[60]", "[-1, 30]")),
    Row("no shape", BAD, "numbers", _put("inputs.0.shape", []), ("'input'", "[]", "[-1, 30]")),
    Row("-1 in a shape", BAD, "numbers", _put("inputs.0.shape", [-1, 30]), ("'input'", "[-1, 30]", "shape")),
    Row("zero rows", BAD, "numbers", _put("inputs.0.shape", [0, 30]), ("'input'", "[0, 30]", "at least one row")),
    Row("64 GiB shape", BAD, "numbers", _put("inputs.0.shape", BIG), ("'input'", "240 raw bytes", str(2**33 * 120))),
    Row("overflowing shape", BAD, "numbers", _put("inputs.0.shape", [2**62, 30]), ("'input'", "240 raw bytes")),
    Row("rows differ", BAD, "churn raw", _put("inputs.1.shape", [3, 1]), ("rows", "'contract' has 2", "'city' has 3")),
    Row(
        "raw too short", BAD, "numbers", _put("raw_input_contents.0", bytes(236)), ("'input'", "236", "240", "[2, 30]")
    ),
    Row("raw too long", BAD, "numbers", _put("raw_input_contents.0", bytes(244)), ("'input'", "244", "240", "[2, 30]")),
    Row(
        "fewer raw entries",
        BAD,
        "churn raw",
        lambda m: m.raw_input_contents.pop(),
        ("3 raw_input_contents", "4 inputs"),
    ),
    Row(
        "more raw entries",
        BAD,
        "numbers",
        lambda m: m.raw_input_contents.append(b""),
        ("2 raw_input_contents", "1 input"),
    ),
    Row(
        "raw and contents",
        BAD,
        "churn raw",
        lambda m: m.inputs[3].contents.int64_contents.append(1),
        ("mixed", "tenure"),
    ),
    Row("no contents at all", BAD, "numbers", _put("raw_input_contents", []), ("'input'", "0 values", "60")),
    Row("contents of another type", BAD, "churn typed", _other_contents, ("charges", "fp32_contents", "fp64_contents")),
    Row("too many values", BAD, "churn typed", _overflow, ("charges", "4 values", "expected 2")),
    Row(
        "element beyond the end",
        BAD,
        "churn raw",
        _framed(struct.pack("<I", 2**31) + b"x"),
        ("city", "BYTES", "expected 2"),
    ),
    Row("half a length", BAD, "churn raw", _framed(_two(b"a", b"b") + b"\1\0"), ("city", "BYTES framing")),
    Row(
        "an element too few",
        BAD,
        "churn raw",
        _framed(_two(b"a", b"b")[:5]),
        ("city", "1 complete element", "expected 2"),
    ),
    Row("not UTF-8", BAD, "churn raw", _framed(_two(b"\xff\xfe", b"b")), ("city", "UTF-8")),
    Row(
        "category never seen",
        BAD,
        "churn typed",
        _put("inputs.0.contents.bytes_contents.1", b"weekly"),
        ("contract", "weekly", "monthly", "yearly"),
    ),
)
