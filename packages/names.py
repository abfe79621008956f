"""The rules for names of models and numbers of versions in folders, requests and commands."""

import re

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MODEL_NAME_RULE = "letters, digits, dot, underscore and hyphen, beginning with a letter or digit, at most 128"
# At most 18 digits, so that every version fits into the 64-bit fields of messages.
VERSION = re.compile(r"[1-9][0-9]{0,17}")
VERSION_RULE = "a positive integer without leading zeros, at most 18 digits"


def is_model_name(text: str) -> bool:
    """Whether `text` is a valid model name; it becomes a folder name, a metric label and part of an address."""
    return MODEL_NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether `text` is a version number as in folders and requests."""
    return VERSION.fullmatch(text) is not None


def parse_version(text: str) -> int:
    """The version number that a user typed. Raises ValueError with the rule."""
    if not is_version(text):
        raise ValueError(f"{text!r} is not a version: expected {VERSION_RULE}")
    return int(text)
