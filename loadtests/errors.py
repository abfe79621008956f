"""What stops a load test before it has measured anything."""


class UsageError(Exception):
    """The load test was asked for something that it cannot do; the message is one line for the person who asked."""


class UnreachableError(Exception):
    """The server under test does not answer, or does not serve what the test needs."""
