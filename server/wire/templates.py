"""Remembered request headers: a prefix compare in place of parsing, for clients that repeat themselves.

A client sends the same header (model, inputs, shapes, outputs) with every request, and `raw_input_contents` is the last
field of the message. The protobuf library reads a header once; from then on a request that starts with the same bytes
means the same. That is sound because a protobuf message may be cut between two fields: each part parses alone, and the
whole means the parts merged (protobuf encoding, "last one wins" and concatenation). `learn` proves that cut before it
remembers a header; whatever it cannot prove takes the full path every time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from onnxpress.protos.inference_pb2 import ModelInferRequest
from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.serving.request import Parsed, UniformBatch
from onnxpress.server.serving.tensors import Flat, Signature
from onnxpress.server.wire.strings import split_bytes

RAW_TAG = 0x3A  # raw_input_contents: field 7, length-delimited
ID_TAG = b"\x1a"  # id: field 3, length-delimited
ONE_BYTE = 0x80  # lengths below it are one byte long
RAW_START = bytes([RAW_TAG])
BY_LENGTH_MAX = 4096
TEXTS_MAX = 4096  # of at most TEXT_SIZE_MAX bytes each
TEXT_SIZE_MAX = 256
FLEXIBLE_MAX = 32
KEY_PARAMETER = "route_key"


@dataclass(slots=True)
class Template:
    """What requests with one header have in common.

    head: the bytes up to the id, its tag included; or the whole header, where requests carry no id.
    tail: what follows the id, up to the first raw tensor.
    sizes: of each raw tensor in the order of the message its bytes, and the tag and length before it; 0 for BYTES,
        which say themselves.
    texts: BYTES tensors seen before, and their elements, which nobody changes. Pumps may race to add one.
    """

    head: bytes
    tail: bytes
    has_id: bool
    sizes: tuple[tuple[int, bytes], ...]
    order: tuple[int, ...]  # place in the message of each input of the signature
    texts: dict[bytes, list[str]]
    flexible: bool  # its length differs from request to request
    model: str
    version: str
    signature: Signature
    rows: int
    outputs: tuple[int, ...] | None
    alone: bool  # the one tensor's tag and length are part of `head`
    plain: bool  # one tensor of a fixed size, all outputs, none of them text: good for uniform batches

    def match(self, payload: bytes) -> Parsed | None:
        """The request in `payload`, or None when its header is another or anything about it is unusual."""
        head = self.head
        if not payload.startswith(head):
            return None
        at, id_ = len(head), ""
        if self.has_id:
            size = payload[at] if at < len(payload) else ONE_BYTE
            stop = at + 1 + size
            raw_id = payload[at + 1 : stop]
            if size >= ONE_BYTE or not raw_id.isascii() or not payload.startswith(self.tail, stop):
                return None
            id_, at = raw_id.decode(), stop + len(self.tail)
        tensors = self._tensors(payload, at)
        if tensors is None:
            return None
        return self.parsed(tensors, len(payload), id_)

    def parsed(self, tensors: Sequence[Flat], size: int, id_: str) -> Parsed:
        return Parsed(self.model, self.version, self.signature, self.rows, tensors, size, None, self.outputs, id_)

    def uniform(self, payloads: Sequence[bytes]) -> UniformBatch | None:
        """What `match` says of all payloads, in one object; None when one of them has another header."""
        head, (size, frame) = self.head, self.sizes[0]
        at = len(head)
        ids: list[bytes] = []
        tensors: list[bytes] = []
        if self.alone:
            length = at + size
            tensors = [payload[at:] for payload in payloads if len(payload) == length and payload.startswith(head)]
            if len(tensors) != len(payloads):
                return None
            return self._uniform(tensors, length * len(payloads), None)
        tail = self.tail + frame
        for payload in payloads:
            id_length = payload[at] if len(payload) > at else 0
            stop = at + 1 + id_length
            start = stop + len(tail)
            id_ = payload[at:stop]
            if not (
                id_length
                and id_.isascii()  # the length too: it is one byte
                and len(payload) == start + size
                and payload.startswith(head)
                and payload.startswith(tail, stop)
            ):
                return None
            ids.append(id_)
            tensors.append(payload[start:])
        return self._uniform(tensors, sum(map(len, payloads)), ids)

    def _uniform(self, tensors: Sequence[bytes], size: int, ids: Sequence[bytes] | None) -> UniformBatch:
        return UniformBatch(self.model, self.version, self.signature, self.rows, tensors, size, ids)

    def _tensors(self, payload: bytes, at: int) -> Sequence[Flat] | None:
        tensors: list[Flat] = []
        texts = self.texts
        try:
            for size, frame in self.sizes:
                if size:
                    if not payload.startswith(frame, at):
                        return None
                    start = at + len(frame)
                    at = start + size
                    tensors.append(payload[start:at])
                    continue
                length = payload[at + 1]
                stop = at + 2 + length
                if length >= ONE_BYTE:
                    length = length - ONE_BYTE + payload[at + 2] * ONE_BYTE
                    stop = at + 3 + length
                raw = payload[at:stop]
                elements = texts.get(raw)
                if elements is None:
                    elements = self._elements(raw)
                    if elements is None:
                        return None
                tensors.append(elements)
                at = stop
        except IndexError:
            return None
        if at != len(payload):
            return None
        return tensors if len(tensors) == 1 else [tensors[place] for place in self.order]

    def _elements(self, raw: bytes) -> list[str] | None:
        """The elements of one raw BYTES tensor, its tag and length included; categories come again and again."""
        content = raw[2:] if raw[1] < ONE_BYTE else raw[3:]
        if raw[:1] + varint(len(content)) + content != RAW_START + raw[1:]:
            return None
        try:
            elements = [element.decode() for element in split_bytes("", content, self.rows)]
        except (InvalidRequestError, UnicodeDecodeError):
            return None
        if len(self.texts) < TEXTS_MAX and len(raw) <= TEXT_SIZE_MAX:
            self.texts[raw] = elements
        return elements


@dataclass(slots=True)
class Learned:
    """Templates by header and signature. Pumps may race to add one; equal headers give equal templates.

    by_length: templates of requests whose length never varies. flexible: with ids or strings.
    """

    by_length: dict[int, tuple[Template, ...]] = field(default_factory=dict)
    flexible: tuple[Template, ...] = ()

    def match(self, payload: bytes, signature: Signature | None = None) -> Parsed | None:
        """The request, if its header is known, and with that signature where one is given."""
        for template in self.by_length.get(len(payload), ()):
            if signature is not None and template.signature is not signature:
                continue
            if template.alone:
                # One tensor of a fixed size, the hottest case of all: equal header, equal length.
                if payload.startswith(template.head):
                    return template.parsed((payload[len(template.head) :],), len(payload), "")
                continue
            parsed = template.match(payload)
            if parsed is not None:
                return parsed
        for template in self.flexible:
            if signature is not None and template.signature is not signature:
                continue
            parsed = template.match(payload)
            if parsed is not None:
                return parsed
        return None

    def uniform(self, payloads: Sequence[bytes]) -> Iterator[UniformBatch]:
        """All of `payloads` in one object, for each plain template that matches them: one for each signature."""
        first = payloads[0]
        for template in (*self.by_length.get(len(first), ()), *self.flexible):
            if template.plain and first.startswith(template.head):
                uniform = template.uniform(payloads)
                if uniform is not None:
                    yield uniform

    def add(self, template: Template, length: int) -> None:
        """Forgets everything when there is too much of it: a client that never repeats itself must not cost memory."""
        if template.flexible:
            kept = self.flexible if len(self.flexible) < FLEXIBLE_MAX else ()
            self.flexible = (template, *kept)
        else:
            if len(self.by_length) >= BY_LENGTH_MAX:
                self.by_length.clear()
            kept = self.by_length.get(length, ())
            self.by_length[length] = (template, *kept[: FLEXIBLE_MAX - 1])


def learn(payload: bytes, message: ModelInferRequest, parsed: Parsed, order: Sequence[int]) -> Template | None:
    """The template of a request that the full path has accepted, or None where none can be proved."""
    raws = message.raw_input_contents
    signature = parsed.signature
    # A route key differs from caller to caller: each would be a header of its own.
    if not raws or not signature.batchable or KEY_PARAMETER in message.parameters:
        return None
    frames = [bytes([RAW_TAG]) + varint(len(raw)) for raw in raws]
    suffix = b"".join(frame + raw for frame, raw in zip(frames, raws, strict=True))
    header = payload[: len(payload) - len(suffix)]
    if not payload.endswith(suffix):
        return None
    datatypes = {place: spec.datatype for place, spec in zip(order, signature.inputs, strict=True)}
    strings = frozenset(place for place, datatype in datatypes.items() if datatype == "BYTES")
    if "BOOL" in datatypes.values():
        return None  # its bytes need looking at, which the full path does
    parts = _cut(header, message)
    if parts is None:
        return None
    head, tail = parts
    single = len(raws) == 1 and not strings
    alone = single and not message.id
    return Template(
        head + frames[0] if alone else head,
        tail,
        bool(message.id),
        tuple((0, b"") if place in strings else (len(raw), frames[place]) for place, raw in enumerate(raws)),
        tuple(order),
        {},
        bool(message.id or strings),
        parsed.model,
        parsed.version,
        signature,
        parsed.rows,
        parsed.outputs,
        alone,
        single and parsed.outputs is None and all(spec.fixed for spec in signature.outputs),
    )


def _cut(header: bytes, message: ModelInferRequest) -> tuple[bytes, bytes] | None:
    """The header before and after the id, or whole and nothing where there is none; None where that is not proved."""
    rest = ModelInferRequest()
    rest.CopyFrom(message)
    rest.ClearField("raw_input_contents")
    if not message.id:
        return (header, b"") if _parses_to(header, rest) else None
    names = ModelInferRequest(model_name=message.model_name, model_version=message.model_version)
    start = names.SerializeToString()
    whole_id = ModelInferRequest(id=message.id).SerializeToString()
    tail = header[len(start) + len(whole_id) :]
    for name in ("model_name", "model_version", "id"):
        rest.ClearField(name)
    proved = header.startswith(start + whole_id) and _parses_to(start, names) and _parses_to(tail, rest)
    return (start + ID_TAG, tail) if proved else None


def _parses_to(part: bytes, expected: ModelInferRequest) -> bool:
    try:
        return ModelInferRequest.FromString(part) == expected
    except DecodeError:
        return False


def varint(value: int) -> bytes:
    """Base-128 encoding of a length (protobuf wire format)."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
