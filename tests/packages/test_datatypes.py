"""The table of datatypes agrees with the libraries that define its entries."""

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from onnxpress.packages.datatypes import BY_TENSOR_TYPE, COLUMN_DATATYPES, DATATYPES, Datatype
from onnxpress.protos.inference_pb2 import DataType, InferTensorContents

every = pytest.mark.parametrize("datatype", DATATYPES.values(), ids=lambda datatype: datatype.name)


@every
def test_onnx_and_numpy_agree(datatype: Datatype) -> None:
    """An ONNX tensor of the element type is an array of the dtype, by onnx's own table."""
    assert helper.tensor_dtype_to_np_dtype(datatype.element_type) == datatype.dtype


@every
def test_onnx_runtime_spells_it_so(datatype: Datatype) -> None:
    """ONNX Runtime names an input of the element type by the tensor type."""
    ports = [helper.make_tensor_value_info(name, datatype.element_type, [None]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "graph", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == datatype.tensor_type
    assert BY_TENSOR_TYPE[datatype.tensor_type] is datatype


@every
def test_triton_has_a_name_for_it(datatype: Datatype) -> None:
    """ModelConfig's enum has the name, and one number for each datatype."""
    assert DataType.Value(datatype.config_name)
    assert len({DataType.Value(other.config_name) for other in DATATYPES.values()}) == len(DATATYPES)


@every
def test_typed_contents_carry_its_values(datatype: Datatype) -> None:
    """The field of InferTensorContents takes the datatype's largest value, or there is none for it."""
    if datatype.contents_field is None:
        assert datatype.name == "FP16"
        return
    contents = InferTensorContents()
    values = {"b": True, "O": b"text", "f": 1.5}
    value = values.get(datatype.dtype.kind) or int(np.iinfo(datatype.dtype).max)
    getattr(contents, datatype.contents_field).append(value)
    assert list(getattr(contents, datatype.contents_field)) == [value]


@every
def test_arrays_are_as_raw_contents_are(datatype: Datatype) -> None:
    """Numbers are little-endian, so that their bytes are the tensor's; text is kept as objects."""
    if datatype.name == "BYTES":
        assert datatype.dtype == object
    else:
        assert np.ones(1, datatype.dtype).tobytes() == np.ones(1, datatype.dtype.newbyteorder("<")).tobytes()


def test_every_datatype_of_the_protocol_is_listed() -> None:
    """Triton's enum has one more, BF16, which numpy has no type for; columns are a part of the rest."""
    named = {datatype.config_name for datatype in DATATYPES.values()}
    assert set(DataType.keys()) - named == {"TYPE_INVALID", "TYPE_BF16"}
    assert set(COLUMN_DATATYPES) < set(DATATYPES)
