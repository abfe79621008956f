"""What may be called a model, and what is a version: the one rule each, for folders, requests and commands."""

import re

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MODEL_NAME_RULE = "letters, digits, dot, underscore and hyphen, beginning with a letter or digit, at most 128"
# At most 18 digits: whatever passes fits into the 64 bits that every message has for it.
VERSION = re.compile(r"[1-9][0-9]{0,17}")
VERSION_RULE = "a positive integer without leading zeros, at most 18 digits"


def is_model_name(text: str) -> bool:
    """Whether a model may be called that: it is a folder's name, a metric's label and part of an address."""
    return MODEL_NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether `text` is a version's number as folders and requests spell it."""
    return VERSION.fullmatch(text) is not None


def parse_version(text: str) -> int:
    """The number of a version that someone typed. Raises ValueError that says what a version is."""
    if not is_version(text):
        raise ValueError(f"{text!r} is not a version: expected {VERSION_RULE}")
    return int(text)
