"""The golden rule: numbers within their tolerance, labels that only a true tie may change."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnxpress.packages.golden import Golden, Scores, labels_off, values_off

CLASSES = ["a", "b", "c"]
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
ROW = arrays(np.float64, 3, elements=st.floats(0, 1))
TOLERANCE = arrays(np.float64, 3, elements=st.floats(0, 0.25))


def off(answer: float, original: float, tolerance: float = 0.0) -> bool:
    return bool(values_off(np.array([answer], np.float32), np.array([original]), np.array([tolerance]))[0])


@pytest.mark.parametrize(
    ("answer", "original", "tolerance", "wrong"),
    [
        (0.5, 0.5, 0.0, False),
        (0.5, 0.25, 0.25, False),
        (0.5, 0.25, 0.2499, True),
        (0.1, 0.1, 0.0, False),  # the nearest float32 is right, whatever the tolerance
        (np.nan, np.nan, 0.0, False),
        (np.nan, 0.5, 1e9, True),
        (0.5, np.nan, 1e9, True),
        (np.inf, np.inf, 0.0, False),
        (-np.inf, np.inf, 1.0, True),
        (np.inf, 0.5, 1e9, True),
        (np.inf, 1e39, 0.0, False),  # beyond the range of float32
        (-np.inf, 1e39, 0.0, True),
        (0.5, 0.25, np.nan, True),
    ],
)
def test_numbers(answer: float, original: float, tolerance: float, wrong: bool) -> None:
    """Within the absolute tolerance; NaN by NaN, an infinity by the same or by a number that float32 cannot hold."""
    assert off(answer, original, tolerance) is wrong


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3), st.floats(0, 1))
def test_a_number_within_its_tolerance_holds_and_one_beyond_does_not(
    value: float, tolerance: float, part: float
) -> None:
    """The tolerance is absolute and reaches to both sides; outside of it only rounding to float32 is excused."""
    numbers = np.array([value - part * tolerance, value + part * tolerance])
    slack = np.full(2, tolerance + 1e-9)
    assert not values_off(numbers, np.full(2, value), slack).any()
    far = np.array([value - 2 * tolerance - 1, value + 2 * tolerance + 1])
    assert values_off(far, np.full(2, value), slack).all()


@given(ANY_FLOAT, ANY_FLOAT)
def test_no_answer_but_its_own_holds_without_tolerance(answer: float, original: float) -> None:
    """With a tolerance of zero what holds is the original's number or its float32, NaN included."""
    with np.errstate(over="ignore"):
        narrow = np.float64(np.float32(original))
    same = any(answer == one or (np.isnan(answer) and np.isnan(one)) for one in (original, narrow))
    assert values_off(np.array([answer]), np.array([original]), np.zeros(1))[0] != same


def label_off(original: np.ndarray, answer: np.ndarray, tolerance: np.ndarray, said: str, expected: str) -> bool:
    scores = Scores(original[np.newaxis], answer[np.newaxis], tolerance[np.newaxis], CLASSES)
    return bool(labels_off(np.array([said], object), np.array([expected]), scores)[0])


@pytest.mark.parametrize(
    ("original", "answer", "said", "wrong"),
    [
        ((0.5, 0.3, 0.2), (0.5, 0.3, 0.2), "a", False),
        ((0.5, 0.3, 0.2), (0.5, 0.3, 0.2), "b", True),  # no tie
        ((0.41, 0.4, 0.19), (0.4, 0.41, 0.19), "b", False),  # a tie of the two largest, and one of them
        ((0.41, 0.4, 0.19), (0.4, 0.41, 0.19), "c", True),  # the same tie, and another class
        ((0.6, 0.2, 0.2), (0.6, 0.19, 0.21), "c", True),  # classes that tie, but below the largest
        ((0.4, 0.4, 0.2), (0.4, 0.4, 0.2), "b", True),  # exact in both: a rule of the model decides, not rounding
        ((0.4, 0.4, 0.2), (0.39, 0.4, 0.2), "b", False),
        ((0.34, 0.33, 0.33), (0.33, 0.33, 0.34), "c", False),  # all three tie
        ((0.4, 0.4, 0.2), (0.39, 0.4, 0.2), "d", True),  # no class
        ((np.nan, np.nan, np.nan), (0.3, 0.4, 0.3), "b", True),
        ((np.inf, np.inf, 0.0), (np.inf, 1.0, 0.0), "b", True),
    ],
)
def test_labels(original: tuple[float, ...], answer: tuple[float, ...], said: str, wrong: bool) -> None:
    """The original says "a"; another label holds only as one of the largest classes where those tie."""
    assert label_off(np.array(original), np.array(answer), np.full(3, 0.01), said, "a") is wrong


def test_the_original_must_be_among_the_ties() -> None:
    """A label that does not follow the probabilities is not excused by a tie of two others."""
    ties = np.array([0.2, 0.4, 0.39])
    assert label_off(ties, ties[[0, 2, 1]], np.full(3, 0.01), "b", "a")
    assert not label_off(ties, ties[[0, 2, 1]], np.full(3, 0.01), "c", "b")


@given(ROW, ROW, TOLERANCE, st.sampled_from(CLASSES), st.sampled_from(CLASSES))
def test_a_label_is_excused_only_by_a_tie_of_the_largest(
    original: np.ndarray, answer: np.ndarray, tolerance: np.ndarray, said: str, expected: str
) -> None:
    """The same label always holds; another only if both classes are within the tolerances of the largest one."""
    wrong = label_off(original, answer, tolerance, said, expected)
    if said == expected:
        assert not wrong
        return
    best = original.argmax()
    both = [CLASSES.index(said), CLASSES.index(expected)]
    tie = all(original[best] - original[one] <= tolerance[best] + tolerance[one] for one in both)
    exact = original[both[0]] == original[both[1]] and answer[both[0]] == answer[both[1]]
    assert wrong == (not tie or exact)


@given(ROW, TOLERANCE, ROW)
def test_what_rounding_can_do_is_never_refused(original: np.ndarray, tolerance: np.ndarray, part: np.ndarray) -> None:
    """Whatever moves each probability within its tolerance and takes the new largest as label holds."""
    moved = original + tolerance * (2 * part - 1)
    assume(len(set(moved)) == 3)
    margin = tolerance + 1e-12  # of the additions here
    assert not values_off(moved, original, margin).any()
    assert not label_off(original, moved, margin, CLASSES[moved.argmax()], CLASSES[original.argmax()])


def golden() -> Golden:
    scores = np.array([[0.9, 0.1], [0.5001, 0.4999]])
    return Golden(
        {"x": np.array([["ü"], [""]]), "n": np.array([[1.0], [np.nan]])},
        {"label": np.array(["yes", "yes"]), "probabilities": scores},
        {"probabilities": np.full((2, 2), 1e-3)},
    )


def test_the_first_difference_names_output_and_row() -> None:
    """Numbers are looked at before the labels that follow from them; missing outputs and other shapes differ too."""
    stored = golden()
    right = {"label": np.array(["yes", "no"], object), "probabilities": stored.outputs["probabilities"].astype("f4")}
    right["probabilities"][1] = 0.4999, 0.5001
    assert stored.first_difference(right, ["yes", "no"]) is None
    moved = right | {"probabilities": right["probabilities"] + np.array([[0], [0.1]], np.float32)}
    found = stored.first_difference(moved, ["yes", "no"])
    assert found is not None
    assert (found.output, found.row, found.original.tolist()) == ("probabilities", 1, [0.5001, 0.4999])
    found = stored.first_difference(right | {"label": np.array(["no", "no"], object)}, ["yes", "no"])
    assert found is not None
    assert (found.output, found.row, str(found.original), found.answer) == ("label", 0, "yes", "no")
    for odd in ({"label": right["label"]}, right | {"label": right["label"][:1]}):
        assert stored.first_difference(odd, ["yes", "no"]) is not None


def test_integer_labels_are_compared_as_numbers() -> None:
    """INT64 labels need no text, and a label without probabilities must be the same."""
    stored = Golden({}, {"label": np.array([1, 0])}, {})
    assert stored.first_difference({"label": np.array([1, 0])}, []) is None
    found = stored.first_difference({"label": np.array([1, 1])}, [])
    assert found is not None
    assert found.row == 1


def test_the_file_gives_back_what_was_stored() -> None:
    """Text is stored as numpy text, nothing is pickled; one row alone is a Golden as well."""
    stored = golden()
    read = Golden.from_bytes(stored.to_bytes())
    assert len(read) == len(stored) == 2
    for mine, other in (
        (read.inputs, stored.inputs),
        (read.outputs, stored.outputs),
        (read.tolerance, stored.tolerance),
    ):
        assert {name: array.tolist() for name, array in mine.items() if name != "n"} == {
            name: array.tolist() for name, array in other.items() if name != "n"
        }
    assert np.isnan(read.inputs["n"][1, 0])
    assert read.feeds()["x"].dtype == object
    assert read.row(1).outputs["label"].tolist() == ["yes"]
    with pytest.raises((ValueError, OSError, EOFError, KeyError)):
        Golden.from_bytes(b"PK no archive")
