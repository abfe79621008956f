"""The cache of signatures."""

from onnxpress.client.signature import (
    SIGNATURES_MAX,
    Input,
    Signature,
    Signatures,
    matrix_signature,
    read_features,
    read_inputs,
    wants_features,
)
from onnxpress.protos.inference_pb2 import ModelConfig, ModelMetadataResponse

SIGNATURE = Signature((Input("x", "FP32", (-1, 1)),))


def test_the_least_recently_used_is_dropped() -> None:
    """The cache is bounded and drops the least recently used."""
    known = Signatures()
    for number in range(SIGNATURES_MAX):
        known.put(f"m{number}", "", "", SIGNATURE)
    assert known.get("m0", "") == ("", SIGNATURE)
    known.put("more", "", "3", SIGNATURE)
    assert known.get("m1", "") is None
    assert known.get("m0", "") is not None
    assert known.get("more", "") == ("3", SIGNATURE)


def test_forgetting_keeps_numbered_versions() -> None:
    """A version never changes; which one is live does."""
    known = Signatures()
    known.put("m", "", "2", SIGNATURE)
    known.put("m", "2", "2", SIGNATURE)
    known.forget("m")
    assert (known.get("m", ""), known.get("m", "2")) == (None, ("2", SIGNATURE))


def test_the_names_of_a_matrix_come_with_their_version() -> None:
    """The names give the width, since metadata and configuration may be of two versions around a swap."""
    tensor = ModelMetadataResponse.TensorMetadata(name="input", datatype="FP32", shape=[-1, 3])
    metadata, config = ModelMetadataResponse(inputs=[tensor]), ModelConfig()
    assert wants_features(metadata)
    assert read_features(config) == ("", ())
    config.parameters["features"].string_value = '["größe", "b"]'
    config.parameters["version"].string_value = "4"
    assert read_features(config) == ("4", ("größe", "b"))
    signature = matrix_signature(read_inputs(metadata), ("größe", "b"))
    assert signature == Signature((Input("input", "FP32", (-1, 2)),), ("größe", "b"))
