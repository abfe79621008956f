"""The errors of the domain, independent of any transport.

`wire/status.py` maps each class to a gRPC status; a test requires a row for each. Messages name the field, the expected
and the actual value, never a path on the server's disk.
"""

from onnxpress.packages.errors import OnnxpressError


class UsageError(OnnxpressError):
    """A command or a setting is invalid."""


class UnknownModelError(OnnxpressError):
    """No model of that name."""


class UnknownVersionError(OnnxpressError):
    """The model has no such version."""


class NotReadyError(OnnxpressError):
    """The version exists but is not ready."""


class InvalidRequestError(OnnxpressError):
    """The request breaks the protocol or the model's signature."""


class OverloadedError(OnnxpressError):
    """The request was refused because it would wait too long.

    retry_ms: the delay after which a retry may succeed, in milliseconds.
    """

    def __init__(self, message: str, retry_ms: int) -> None:
        super().__init__(message)
        self.retry_ms = retry_ms


class TooLargeError(OnnxpressError):
    """The request is larger than the server accepts."""


class ExpiredError(OnnxpressError):
    """The caller's deadline passed before the request ran."""


class DrainingError(OnnxpressError):
    """The server is stopping and takes no new requests."""

    def __init__(self, message: str = "the server is draining") -> None:
        super().__init__(message)


class BrokenServerError(OnnxpressError):
    """The server stopped because of an error that only a new process can fix."""


class EpochConflictError(OnnxpressError):
    """The deployment was changed concurrently."""


class NothingToRollBackError(OnnxpressError):
    """No version was live before."""


class RolloutStateError(OnnxpressError):
    """There is no rollout in a state in which this can be done."""


class BreakingVersionError(OnnxpressError):
    """The version would break the callers of the live version, and the deploy does not allow that."""


class StateWriteError(OnnxpressError):
    """The deployment or the audit log could not be made durable, so nothing was changed."""


class UnauthenticatedError(OnnxpressError):
    """An admin call without valid credentials."""


class PermissionDeniedError(OnnxpressError):
    """An admin call whose caller is known and may not make it."""


class UnsupportedError(OnnxpressError):
    """A part of the protocol that this server does not support."""
