"""The finished requests of a process as columns of numbers, which are cheap to append and to send."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MESSAGES_MAX = 50  # distinct error texts kept
MESSAGE_LENGTH_MAX = 240
# Columns and their types on the wire: seconds from the beginning of the test; class, outcome and version as numbers.
COLUMNS = {"due": "d", "sent": "d", "done": "d", "kind": "H", "outcome": "B", "version": "Q"}


@dataclass(frozen=True)
class Samples:
    """Finished requests; every array is [requests]. Times in seconds from the beginning of the test.

    `due`: when the request was to be sent; `sent`: when it was; `done`: when the loop saw its answer. `kind`: index of
    its class of payloads. `version`: the version that answered, 0 for none.
    """

    due: NDArray[np.float64]
    sent: NDArray[np.float64]
    done: NDArray[np.float64]
    kind: NDArray[np.uint16]
    outcome: NDArray[np.uint8]
    version: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.due)

    def latencies_us(self) -> NDArray[np.int64]:
        """From the intended send time, in µs, [requests]."""
        return np.rint((self.done - self.due) * 1e6).astype(np.int64)

    def lags_us(self) -> NDArray[np.int64]:
        """How late each request was sent, in µs, [requests]."""
        return np.rint((self.sent - self.due) * 1e6).astype(np.int64)

    def where(self, mask: NDArray[np.bool_]) -> "Samples":
        return Samples(*(getattr(self, name)[mask] for name in COLUMNS))

    @classmethod
    def join(cls, parts: "list[Samples]") -> "Samples":
        if not parts:
            return Recorder().take()[0]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))


@dataclass
class Recorder:
    """Collects finished requests until `take` returns them. Owned by the sender's event loop."""

    columns: dict[str, Any] = field(default_factory=lambda: {name: array(kind) for name, kind in COLUMNS.items()})
    messages: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.columns["due"])

    def add(self, request: tuple[float, float, float, int, int, int]) -> None:
        """Appends one finished request: its values in the order of COLUMNS."""
        for column, value in zip(self.columns.values(), request, strict=True):
            column.append(value)

    def complain(self, message: str) -> None:
        """Counts an error text; beyond the limit of distinct ones, under `other`."""
        message = message[:MESSAGE_LENGTH_MAX]
        known = message in self.messages or len(self.messages) < MESSAGES_MAX
        self.messages[message if known else "other"] += 1

    def take(self) -> tuple[Samples, dict[str, int]]:
        columns, messages = self.columns, dict(self.messages)
        self.columns = {name: array(kind) for name, kind in COLUMNS.items()}
        self.messages = Counter()
        return unpack({name: column.tobytes() for name, column in columns.items()}), messages


def pack(samples: Samples) -> dict[str, bytes]:
    """The columns as bytes, for a message between processes of one machine."""
    return {name: getattr(samples, name).tobytes() for name in COLUMNS}


def unpack(columns: dict[str, bytes]) -> Samples:
    return Samples(*(np.frombuffer(columns[name], np.dtype(kind)) for name, kind in COLUMNS.items()))
