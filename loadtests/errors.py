"""What stops a load test before it has measured anything."""


class UsageError(Exception):
    """The load test was asked for something that it cannot do; the message is one line for the person who asked."""


class UnreachableError(Exception):
    """The server under test does not answer, or does not serve what the test needs."""

    @classmethod
    def at(cls, target: str, seconds: float) -> "UnreachableError":
        return cls(f"no gRPC server answers at {target} within {seconds:g} s")
