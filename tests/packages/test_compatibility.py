"""Which changes of a version's interface break its callers, each named."""

from dataclasses import replace

import pytest

from onnxpress.packages.compatibility import Interface, Level, Port, compare, interface_of
from onnxpress.protos.package_pb2 import Feature, Layout, Manifest, Tensor

COLUMNS = Interface(
    inputs=(Port("city", "BYTES", (-1, 1)), Port("age", "FP32", (-1, 1))),
    outputs=(Port("label", "INT64", (-1,)), Port("probabilities", "FP32", (-1, 2))),
    accepts=(("city", ("Köln", "Bonn")),),
    classes=("0", "1"),
)
MATRIX = Interface(
    inputs=(Port("input", "FP32", (-1, 3)),),
    outputs=(Port("prediction", "FP32", (-1, 1)),),
    features=("a", "b", "c"),
)


def inputs(*ports: Port) -> Interface:
    return replace(COLUMNS, inputs=ports)


def outputs(*ports: Port) -> Interface:
    return replace(COLUMNS, outputs=ports)


CITY, AGE = COLUMNS.inputs
LABEL, PROBABILITIES = COLUMNS.outputs
BREAKS = {
    "input removed": (inputs(CITY), "input 'age' was removed"),
    "input added": (inputs(CITY, AGE, Port("sex", "BYTES", (-1, 1))), "input 'sex' is newly required"),
    "input retyped": (inputs(CITY, replace(AGE, datatype="FP64")), "input 'age' was FP32 and is FP64"),
    "input fixed": (inputs(CITY, replace(AGE, shape=(8, 1))), "input 'age' had shape [-1, 1] and has [8, 1]"),
    "output removed": (outputs(LABEL), "output 'probabilities' was removed"),
    "output retyped": (outputs(replace(LABEL, datatype="BYTES"), PROBABILITIES), "output 'label' was INT64"),
    "output reshaped": (outputs(LABEL, replace(PROBABILITIES, shape=(-1, 3))), "had shape [-1, 2] and has [-1, 3]"),
    "output no longer fixed": (outputs(LABEL, replace(PROBABILITIES, shape=(-1, -1))), "and has [-1, -1]"),
    "outputs reordered": (outputs(PROBABILITIES, LABEL), "'label', 'probabilities' in this order"),
    "output put first": (outputs(Port("x", "FP32", (-1,)), LABEL, PROBABILITIES), "in this order"),
    "contract narrower": (replace(COLUMNS, accepts=(("city", ("Köln",)),)), "'city' no longer takes 'Bonn'"),
    "contract new": (
        replace(COLUMNS, accepts=(*COLUMNS.accepts, ("age", ("1", "2")))),
        "'age' took every value and takes only '1', '2'",
    ),
    "classes exchanged": (replace(COLUMNS, classes=("1", "0")), "the classes were '0', '1' in this order"),
}
ADDS = {
    "output added": (outputs(LABEL, PROBABILITIES, Port("x", "FP32", (-1,))), "output 'x' is new"),
    "contract wider": (replace(COLUMNS, accepts=(("city", ("Bonn", "Köln", "Ulm")),)), "'city' also takes 'Ulm'"),
    "contract gone": (replace(COLUMNS, accepts=()), "'city' takes every value"),
}


@pytest.mark.parametrize("change", BREAKS)
def test_what_breaks_callers_is_named(change):
    """Each of these changes would refuse or change the meaning of a call that the former version answered."""
    latter, words = BREAKS[change]
    found = compare(COLUMNS, latter)
    assert found.level is Level.BREAKING
    assert len(found.breaking) == 1
    assert words in found.breaking[0]


@pytest.mark.parametrize("change", ADDS)
def test_what_is_new_breaks_nobody(change):
    """More outputs behind the known ones and more accepted values are additions."""
    latter, words = ADDS[change]
    found = compare(COLUMNS, latter)
    assert found.level is Level.ADDITIVE
    assert len(found.additions) == 1
    assert words in found.additions[0]
    assert compare(latter, COLUMNS).level is Level.BREAKING


def test_a_retrained_model_is_compatible():
    """The same interface, also with its inputs in another order: requests name them."""
    assert compare(COLUMNS, COLUMNS).level is Level.COMPATIBLE
    assert compare(COLUMNS, inputs(AGE, CITY)).level is Level.COMPATIBLE
    assert compare(MATRIX, MATRIX).level is Level.COMPATIBLE


def test_a_shape_that_becomes_variable_is_an_addition():
    """A request of the former fixed size still fits."""
    fixed = inputs(CITY, replace(AGE, shape=(8, 1)))
    assert compare(fixed, COLUMNS).level is Level.ADDITIVE


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (("a", "c", "b"), "another order: column 1 was 'b' and is 'c'"),
        (("a", "b", "d"), "lost the columns 'c'"),
        (("a", "b", "d"), "newly requires the columns 'd'"),
    ],
)
def test_columns_of_a_matrix_keep_names_and_order(features, words):
    """The shape is the same, so a request would be answered without an error, and wrong."""
    found = compare(MATRIX, replace(MATRIX, features=features))
    assert found.level is Level.BREAKING
    assert any(words in reason for reason in found.breaking)


def test_unknown_column_names_are_not_compared():
    """A bare model names none."""
    assert compare(MATRIX, replace(MATRIX, features=())).level is Level.COMPATIBLE


def test_an_interface_is_read_from_a_manifest():
    """Accepted numbers in one spelling; a session's inputs and outputs count where there is no manifest."""
    manifest = Manifest(
        layout=Layout.MATRIX,
        inputs=[Tensor(name="input", datatype="FP32", shape=[-1, 2])],
        outputs=[Tensor(name="prediction", datatype="FP32", shape=[-1, 1])],
        features=[
            Feature(name="a", datatype="FP32", accepts=["1.0", "2"]),
            Feature(name="b", datatype="BYTES", accepts=["1.0"]),
        ],
        classes=["x"],
    )
    read = interface_of(manifest)
    assert read.inputs == (Port("input", "FP32", (-1, 2)),)
    assert read.outputs == (Port("prediction", "FP32", (-1, 1)),)
    assert read.features == ("a", "b")
    assert read.accepts == (("a", ("1", "2")), ("b", ("1.0",)))
    assert read.classes == ("x",)
    bare = interface_of(Manifest(name="bare", version=1), read.inputs, read.outputs)
    assert (bare.inputs, bare.outputs) == (read.inputs, read.outputs)
