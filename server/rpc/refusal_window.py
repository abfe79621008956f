"""How many refused calls are recorded one by one. Pure."""

from collections import Counter


class RefusalWindow:
    """At most `most` of each gRPC status in `seconds`; the others are counted. `now` is in seconds, from any clock."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._until = float("-inf")
        self._recorded: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def admit(self, code: str, now: float) -> bool:
        """Whether this refusal is to be recorded; begins a window if there is none."""
        if now >= self._until and not self._dropped:
            self._until = now + self._seconds
            self._recorded.clear()
        if self._recorded[code] < self._most:
            self._recorded[code] += 1
            return True
        self._dropped[code] += 1
        return False

    def left(self, now: float) -> float:
        """Seconds until the window ends and what it dropped is to be told."""
        return max(0.0, self._until - now)

    def close(self) -> dict[str, int]:
        """Ends the window: how many were dropped, by status."""
        dropped, self._dropped = dict(self._dropped), Counter()
        self._until = float("-inf")
        return dropped
