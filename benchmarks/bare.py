"""ONNX Runtime in a bare loop: the lowest cost of a row, at the best batch size."""

import os

# Wheels of ONNX Runtime 1.32 carry a telemetry uploader; the variable is read when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import onnxruntime

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SEARCH_S = 0.1

Feeds = Mapping[str, np.ndarray]


class Bare:
    """One session with the server's options, and the rows that the load generator sends."""

    def __init__(self, onnx: Path, rows: Feeds) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        self._rows = rows
        self._count = len(next(iter(rows.values())))

    def cpu_s_per_row(self, size: int, seconds: float) -> float:
        """CPU seconds per row in batches of `size`, over different rows; the loop takes about `seconds`."""
        batches = [
            {name: np.resize(cells[start:], (size, *cells.shape[1:])) for name, cells in self._rows.items()}
            for start in range(0, self._count, size)
        ]
        run = self._session.run
        run(None, batches[0])
        done, cpu_s, end = 0, process_time(), perf_counter() + seconds
        while perf_counter() < end:
            run(None, batches[done % len(batches)])
            done += 1
        return (process_time() - cpu_s) / (done * size)

    def best_size(self) -> int:
        """The batch size with the lowest cost of a row."""
        costs = {size: self.cpu_s_per_row(size, SEARCH_S) for size in SIZES}
        return min(costs, key=costs.__getitem__)
