"""The loop that times every engine. Also imported in the environment of the other libraries: it needs numpy only."""

from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


def cpu_s_per_row(run: Callable[[Rows], Any], rows: Rows, size: int, seconds: float) -> float:
    """CPU seconds per row of `run` in batches of `size`, over different `rows` [n, features]; takes about `seconds`.

    The CPU time is that of all threads of the process.
    """
    batches = [np.ascontiguousarray(rows[n : n + size]) for n in range(0, len(rows) - size + 1, size)]
    run(batches[0])
    done, cpu_s, end = 0, process_time(), perf_counter() + seconds
    while perf_counter() < end:
        run(batches[done % len(batches)])
        done += 1
    return (process_time() - cpu_s) / (done * size)
