"""The errors of reading, writing and running packages."""


class OnnxpressError(Exception):
    """The base class of expected errors; programming errors are never of it."""

    audited = False  # set by whoever wrote it to the audit log of a server, or tried to


class RefusedPackageError(OnnxpressError):
    """A version's files are missing, changed or invalid, or its model does not reproduce the golden rows."""


class ForestError(Exception):
    """The kernel cannot walk these trees, so they stay with ONNX Runtime; the message is the reason."""


class RunError(Exception):
    """ONNX Runtime failed to run a model; the message is its own."""


class ConversionRefused(Exception):  # noqa: N818 -- the design's public name
    """The conversion cannot be proved exact, so no package is written.

    The message names the cause, the step of the model, the worst row where one was found, and what the user can do.
    """
