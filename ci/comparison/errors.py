"""The error of a comparison that cannot be made."""


class ComparisonError(Exception):
    """The two versions cannot be compared as asked; the message says why, and what would be right."""
