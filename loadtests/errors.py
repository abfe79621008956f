"""The errors that stop a load test before it has measured anything."""


class UsageError(Exception):
    """The arguments are wrong or impossible; the message is one line for the user."""


class UnreachableError(Exception):
    """The server under test does not answer, or does not serve a model of the test."""

    @classmethod
    def at(cls, target: str, seconds: float) -> "UnreachableError":
        return cls(f"no gRPC server answers at {target} within {seconds:g} s")
