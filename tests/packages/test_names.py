"""The rules for model names and version numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpress.packages.names import is_model_name, is_version, parse_version
from onnxpress.protos.package_pb2 import Manifest

NO_VERSIONS = ("", "0", "-1", "+1", "01", "1.0", "1e3", " 1", "1 ", "1\n", "1_000", "²", "\u0661", "x", "9" * 19)


@pytest.mark.parametrize("name", ["churn", "Churn_2.v-1", "7", "x" * 128])
def test_ordinary_names_are_names(name: str) -> None:
    """Letters, digits, dot, underscore and hyphen, up to 128 of them."""
    assert is_model_name(name)


@pytest.mark.parametrize(
    "name", ["", "../churn", "a/b", "a\\b", ".hidden", "_own", "a b", "x" * 129, "größe", "a\0", "a\n"]
)
def test_what_cannot_be_a_folder_everywhere_is_no_name(name: str) -> None:
    """A model's name is a path component, a metric's label and part of an address."""
    assert not is_model_name(name)


@pytest.mark.parametrize("text", NO_VERSIONS)
def test_what_is_spelled_otherwise_is_no_version(text: str) -> None:
    """Signs, leading zeros, other digits and whitespace are refused, and the message has the rule."""
    assert not is_version(text)
    with pytest.raises(ValueError, match="expected a positive integer") as caught:
        parse_version(text)
    assert repr(text) in str(caught.value)


@given(st.integers(1, 10**18 - 1))
def test_a_version_is_its_decimal_digits(number: int) -> None:
    """Every number has one spelling, which reads back and fits the messages that carry it."""
    assert is_version(str(number))
    assert parse_version(str(number)) == number
    assert Manifest(version=number).version == number


@given(st.text())
def test_only_one_spelling_of_a_number_is_a_version(text: str) -> None:
    """Every accepted text is the decimal form of a positive number."""
    assert not is_version(text) or (int(text) > 0 and str(int(text)) == text)
