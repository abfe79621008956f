"""Links: nodes against numpy, in every batch, and the effect of rounding errors."""

import numpy as np
import pytest

from onnxpress.converters.graph import links
from onnxpress.converters.graph.builder import Graph
from tests.converters.compiled import differs_by_batch, run

GROUPS = 7
LINKS = {
    "identity": links.identity(),
    "exponential": links.exponential(),
    "sigmoid": links.sigmoid(),
    "sigmoid of 2.5": links.sigmoid(2.5),
    "softmax": links.softmax(),
    "softplus": links.softplus(),
    "softplus that overflows": links.softplus(overflows=True),
    "signed square": links.signed_square(),
    "step": links.step(),
    "ascending": links.ascending(GROUPS),
    "increments": links.increments(GROUPS),
}


def graph_of(link: links.Link) -> Graph:
    graph = Graph()
    graph.output("output", link.emit(graph, graph.input("input", "FP32", GROUPS)), "FP32", GROUPS)
    return graph


def margins(rows: int = 300) -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.normal(size=(rows, GROUPS)) * random.choice([1e-3, 1.0, 25.0], (rows, 1))).astype(np.float32)


@pytest.mark.parametrize("name", LINKS)
def test_nodes_and_arithmetic_agree(name: str) -> None:
    """The emitted nodes agree within float32 rounding of the margins, in the tails of the logistic too."""
    link, given = LINKS[name], margins()
    wide = given.astype(np.float64)
    found = run(graph_of(link), input=given)["output"].astype(np.float64)
    allowed = link.tolerance(wide, links.EPSILON * np.abs(wide))
    assert (np.abs(found - link.apply(wide)) <= allowed).all()


@pytest.mark.parametrize("name", LINKS)
def test_answers_are_the_same_bits_in_every_batch(name: str) -> None:
    """No link's bits depend on the batch, including those of NaN."""
    given = margins()
    given[::7, 2] = np.nan
    given[::5, 3] = np.inf
    assert differs_by_batch(graph_of(LINKS[name]), given) == []


@pytest.mark.parametrize("name", LINKS)
def test_tolerance_covers_margins_that_lost_bits(name: str) -> None:
    """The answers of margins changed by up to the loss are within the tolerance."""
    link, given = LINKS[name], margins().astype(np.float64)
    lost = np.full_like(given, 1e-4)
    allowed = link.tolerance(given, lost)
    random = np.random.default_rng(1)
    for _ in range(20):
        moved = link.apply(given + lost * random.uniform(-1, 1, given.shape))
        assert (np.abs(moved - link.apply(given)) <= allowed).all()


def test_tolerance_is_tight() -> None:
    """Ten times the loss is beyond the tolerance for most rows."""
    given = np.linspace(-3, 3, 100).reshape(-1, 1)
    lost = np.full_like(given, 1e-4)
    link = links.sigmoid()
    assert (np.abs(link.apply(given + 10 * lost) - link.apply(given)) > link.tolerance(given, lost)).all()


def test_an_overflow_is_no_excuse() -> None:
    """If an answer is infinite, no finite one is within the tolerance."""
    assert np.isfinite(links.exponential().tolerance(np.array([[1000.0]]), np.array([[1.0]]))).all()


def test_a_half_is_the_first_class() -> None:
    """A probability of exactly 1/2 gives the first class."""
    graph = Graph()
    index = links.above_half(graph, graph.input("input", "FP32", 1))
    graph.output("output", links.label(graph, index, ("nein", "ja")), "BYTES")
    half = np.float32(0.5)
    given = np.array([[half], [np.nextafter(half, np.float32(1))], [np.nan]], np.float32)
    assert run(graph, input=given)["output"].tolist() == ["nein", "ja", "nein"]
