"""forest.npz: what is written is read, and what is not understood is refused."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import onnx
import pytest

from onnxpress.converters.forest.compile import compile_forest
from onnxpress.packages.errors import ForestError
from onnxpress.packages.forest.compiled import ARRAYS, FORMAT, CompiledForest
from tests.converters.forest.ensembles import Ensemble, Shape


@pytest.fixture(scope="module")
def compiled() -> CompiledForest:
    return compile_forest(onnx.load_from_string(Ensemble(Shape(targets=2, vectors=True), 3).onnx))


def test_a_round_trip(compiled: CompiledForest) -> None:
    """Every array and graph comes back as it was, with its dtype."""
    read = CompiledForest.from_bytes(compiled.to_bytes())
    assert (read.before, read.after, read.outputs) == (compiled.before, compiled.after, compiled.outputs)
    assert (read.trees, read.nodes) == (compiled.trees, compiled.nodes)
    for one, other in zip(read.walks, compiled.walks, strict=True):
        assert (one.source, one.target, one.kind, one.targets) == (
            other.source,
            other.target,
            other.kind,
            other.targets,
        )
        for name in ARRAYS:
            assert getattr(one, name).dtype == getattr(other, name).dtype
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_nothing_is_pickled(compiled: CompiledForest) -> None:
    """No member is an array of objects, so reading it runs no code."""
    with zipfile.ZipFile(io.BytesIO(compiled.to_bytes())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert members
    assert not any(b"'|O'" in content[:128] for content in members.values())


def test_another_format_is_refused(compiled: CompiledForest) -> None:
    """A file of a later onnxpress is named by its format, with what to do."""
    with np.load(io.BytesIO(compiled.to_bytes())) as arrays:
        members: dict[str, Any] = dict(arrays)
    layout = json.loads(members["layout"].tobytes()) | {"format": FORMAT + 1}
    members["layout"] = np.frombuffer(json.dumps(layout).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    with pytest.raises(ForestError, match=f"format {FORMAT + 1}, this onnxpress reads {FORMAT}: convert it again"):
        CompiledForest.from_bytes(buffer.getvalue())
