"""Small versions of a model, made by `onnxpress convert`, and a client that compares their served answers."""

import sys
import tempfile
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import xgboost

from image.engine import call
from onnxpress.protos import inference_pb2 as pb
from onnxpress.protos.inference_pb2_grpc import GRPCInferenceServiceStub

FEATURES = 5
ROWS = (1, 7, 128)
TIMEOUT_S = 10


def make_package(repository: Path, model: str, version: int) -> None:
    """Writes a version of `model` to `repository` by `onnxpress convert`; each version answers differently."""
    generator = np.random.default_rng(version)
    sample = generator.normal(size=(400, FEATURES)).astype(np.float32)
    booster = xgboost.XGBClassifier(n_estimators=20, max_depth=4, n_jobs=1)
    booster.fit(sample, sample @ np.arange(FEATURES) > generator.normal(size=len(sample)))
    with tempfile.TemporaryDirectory() as folder:
        file, sheet = Path(folder, "model.ubj"), Path(folder, "rows.csv")
        booster.save_model(file)
        names = ",".join(f"f{column}" for column in range(FEATURES))
        np.savetxt(sheet, sample, delimiter=",", header=names, comments="", fmt="%.9g")
        convert = [sys.executable, "-m", "onnxpress", "convert", str(file), "--sample", str(sheet), "--name", model]
        call([*convert, "--repository", str(repository), "--version", str(version)])


def same_answers(port: int, package: Path, model: str, version: str) -> int:
    """Compares served answers bit for bit with those of the package, and their version; the number of rows.

    Raises AssertionError, grpc.RpcError.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # with more, sums depend on how rows are split between threads
    session = onnxruntime.InferenceSession(package / "model.onnx", options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(11)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        for count in ROWS:
            rows = generator.normal(size=(count, FEATURES)).astype(np.float32)
            request = pb.ModelInferRequest(model_name=model, raw_input_contents=[rows.tobytes()])
            request.inputs.add(name="input", datatype="FP32", shape=rows.shape)
            answer = stub.ModelInfer(request, timeout=TIMEOUT_S)
            assert answer.model_version == version, f"version {answer.model_version} answered, {version} is live"
            expected = session.run([output.name for output in answer.outputs], {"input": rows})
            for tensor, raw, array in zip(answer.outputs, answer.raw_output_contents, expected, strict=True):
                assert raw == array.tobytes(), f"{tensor.name} of {count} rows is not what the package answers"
    return sum(ROWS)
