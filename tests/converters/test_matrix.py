"""The conversion matrix: every configuration converts exactly or is refused for the stated reason."""

import warnings

import pytest

from onnxpress import ConversionRefused, convert
from tests.converters.matrix.case import Case
from tests.converters.matrix.check import wrong_rows
from tests.converters.matrix.collect import all_cases
from tests.converters.matrix.document import PATH, document, release

CASES = all_cases()
PARAMETERS = [pytest.param(case, id=case.id, marks=[] if case.short else [pytest.mark.long]) for case in CASES]


@pytest.mark.parametrize("case", PARAMETERS)
def test_converts_exactly_or_is_refused_with_the_reason(case: Case) -> None:
    """The package answers as the original by a check that shares no code with the gate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, sample = case.build()
        if case.refused:
            with pytest.raises(ConversionRefused, match=f"(?s){case.refused}"):
                convert(model, sample, name="case", layout=case.layout)
            return
        package = convert(model, sample, name="case", layout=case.layout)
        assert not wrong_rows(case, model, sample, package)


def test_the_document_is_what_the_matrix_says() -> None:
    """docs/conversion.md lists exactly these configurations: `python -m tests.converters.matrix.document` writes it."""
    stored = PATH.read_text()
    if release() not in stored:
        pytest.skip(f"docs/conversion.md was written with another release than this one: {release()}")
    assert stored == document()


def test_every_configuration_has_a_name_of_its_own() -> None:
    """Two rows of docs/conversion.md never share a name."""
    names = [case.id for case in CASES]
    assert len(set(names)) == len(names), sorted({name for name in names if names.count(name) > 1})


def test_the_matrix_is_large_and_nearly_all_of_it_converts() -> None:
    """At least 200 configurations, at least 97 % of which must convert exactly."""
    refused = [case.id for case in CASES if case.refused]
    assert len(CASES) >= 200
    assert len(refused) <= 0.03 * len(CASES), refused
