"""Everything that can go wrong in the domain's own words; no transport in sight.

`wire/status.py` says what each becomes on the network, and a test demands a row there for every class here.
Messages name field, expected and got, and never a path of the server's disk.
"""

from onnxpress.packages.errors import OnnxpressError


class UsageError(OnnxpressError):
    """A command or a setting is not as it must be."""


class UnknownModelError(OnnxpressError):
    """No model of that name."""


class UnknownVersionError(OnnxpressError):
    """The model has no such version."""


class NotReadyError(OnnxpressError):
    """The version exists but does not answer now."""


class InvalidRequestError(OnnxpressError):
    """The request breaks the protocol or the model's signature."""


class OverloadedError(OnnxpressError):
    """Refused because it would wait too long.

    retry_ms: when trying again has a chance, in milliseconds.
    """

    def __init__(self, message: str, retry_ms: int) -> None:
        super().__init__(message)
        self.retry_ms = retry_ms


class TooLargeError(OnnxpressError):
    """The request is larger than the server accepts."""


class ExpiredError(OnnxpressError):
    """The caller's deadline passed before the request ran."""


class DrainingError(OnnxpressError):
    """The server is going away and takes no new work."""

    def __init__(self, message: str = "the server is draining") -> None:
        super().__init__(message)


class BrokenServerError(OnnxpressError):
    """The server cannot go on and has stopped; another process may."""


class EpochConflictError(OnnxpressError):
    """Somebody else changed the deployment first."""


class NothingToRollBackError(OnnxpressError):
    """No version was live before."""


class StateWriteError(OnnxpressError):
    """The deployment or the audit log could not be made durable, so nothing was changed."""


class UnauthenticatedError(OnnxpressError):
    """An admin call without credentials."""


class PermissionDeniedError(OnnxpressError):
    """An admin call with wrong credentials."""


class UnsupportedError(OnnxpressError):
    """A part of the protocol that this server does not do."""
