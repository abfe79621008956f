"""The model of Triton: ONNX Runtime in the Python backend, one run for each dynamic batch. Copied to its repository."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        blocks = [triton.get_input_tensor_by_name(request, "input").as_numpy() for request in requests]
        label, probabilities = self._session.run(["label", "probabilities"], {"input": np.concatenate(blocks)})
        answers, at = [], 0
        for block in blocks:
            stop = at + len(block)
            tensors = [
                triton.Tensor("label", label[at:stop].reshape(-1, 1)),
                triton.Tensor("probabilities", probabilities[at:stop]),
            ]
            answers.append(triton.InferenceResponse(tensors))
            at = stop
        return answers
