"""Learned request headers: requests with a known header are decoded by a prefix comparison instead of the parser.

A client sends the same header (model, inputs, shapes, outputs) with every request, and `raw_input_contents` is the last
field of the message. The protobuf library parses a header once; later requests that start with the same bytes have the
same header. That is sound because a protobuf message can be split between two fields: each part parses on its own, and
the message equals the merged parts (protobuf encoding: last value wins, repeated fields concatenate). `learn` checks
that split before it stores a header; requests for which the check fails always use the parser.
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
ONE_BYTE = 0x80  # lengths below it are encoded in one byte
RAW_START = bytes([RAW_TAG])
BY_LENGTH_MAX = 4096
TEXTS_MAX = 4096  # of at most TEXT_SIZE_MAX bytes each
TEXT_SIZE_MAX = 256
FLEXIBLE_MAX = 32
KEY_PARAMETER = "route_key"


@dataclass(slots=True)
class Template:
    """The common part of all requests with one header.

    head: the bytes up to the id, including its tag; if requests have no id, the whole header.
    tail: the bytes between the id and the first raw tensor.
    sizes: for each raw tensor in message order its size in bytes, and its tag and length as encoded; size 0 for BYTES,
        whose size varies.
    texts: encoded BYTES tensors seen before -> their elements, which are never changed. Pumps may race to add one.
    """

    head: bytes
    tail: bytes
    has_id: bool
    sizes: tuple[tuple[int, bytes], ...]
    order: tuple[int, ...]  # place in the message of each input of the signature
    texts: dict[bytes, list[str]]
    flexible: bool  # the requests' length varies
    model: str
    version: str
    signature: Signature
    rows: int
    outputs: tuple[int, ...] | None
    framed: bool  # the tag and length of the only tensor are part of `head`
    plain: bool  # one tensor of a fixed size, all outputs, none of them BYTES: can form uniform batches

    def match(self, payload: bytes) -> Parsed | None:
        """The request in `payload`, or None if it has another header or needs the parser."""
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
        """All payloads as one uniform batch; None when one of them has another header or needs the parser."""
        head, (size, frame) = self.head, self.sizes[0]
        at = len(head)
        ids: list[bytes] = []
        tensors: list[bytes] = []
        if self.framed:
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
                and id_.isascii()  # includes the length byte, so the length is below ONE_BYTE
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
        """The elements of one raw BYTES tensor, given with its tag and length; kept in `texts`, as categories recur."""
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

    by_length: templates of requests with a constant length, by that length. flexible: those with ids or strings.
    """

    by_length: dict[int, tuple[Template, ...]] = field(default_factory=dict)
    flexible: tuple[Template, ...] = ()

    def match(self, payload: bytes, signature: Signature | None = None) -> Parsed | None:
        """The request, or None if its header is not known, or not with `signature` if one is given."""
        for template in self.by_length.get(len(payload), ()):
            if signature is not None and template.signature is not signature:
                continue
            if template.framed:
                # The most frequent case: one tensor of a fixed size; equal lengths, so only headers are compared.
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
        """All of `payloads` as one uniform batch, once for each signature that their header is known with."""
        first = payloads[0]
        for template in (*self.by_length.get(len(first), ()), *self.flexible):
            if template.plain and first.startswith(template.head):
                uniform = template.uniform(payloads)
                if uniform is not None:
                    yield uniform

    def add(self, template: Template, length: int) -> None:
        """Adds a template; at the limit all others are dropped, so that clients with varying headers cost no memory."""
        if template.flexible:
            kept = self.flexible if len(self.flexible) < FLEXIBLE_MAX else ()
            self.flexible = (template, *kept)
        else:
            if len(self.by_length) >= BY_LENGTH_MAX:
                self.by_length.clear()
            kept = self.by_length.get(length, ())
            self.by_length[length] = (template, *kept[: FLEXIBLE_MAX - 1])


def learn(payload: bytes, message: ModelInferRequest, parsed: Parsed, order: Sequence[int]) -> Template | None:
    """The template of a request that the parser path has accepted, or None if its header cannot be split off."""
    raws = message.raw_input_contents
    signature = parsed.signature
    # Route keys differ between callers, so each would add a template.
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
        return None  # the values must be checked, which only the parser path does
    parts = _cut(header, message)
    if parts is None:
        return None
    head, tail = parts
    single = len(raws) == 1 and not strings
    framed = single and not message.id
    return Template(
        head + frames[0] if framed else head,
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
        framed,
        single and parsed.outputs is None and all(spec.fixed for spec in signature.outputs),
    )


def _cut(header: bytes, message: ModelInferRequest) -> tuple[bytes, bytes] | None:
    """The header before and after the id, or the whole and nothing if there is no id; None if it cannot be split."""
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
