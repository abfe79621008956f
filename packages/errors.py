"""What can be wrong with a package, for whoever writes or reads one."""


class OnnxpressError(Exception):
    """The root: catching it never catches a programming error."""


class RefusedPackageError(OnnxpressError):
    """A version's files are not what they must be, or do not answer as they must."""


class RunError(Exception):
    """ONNX Runtime could not answer; the message is its own."""


class ConversionRefused(Exception):  # noqa: N818 -- the design's public name
    """The conversion cannot be proved exact, so it does not ship.

    The message names the cause, the step of the model, the worst row where one was found, and what the user can do.
    """
