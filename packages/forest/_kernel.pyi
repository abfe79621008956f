from typing import Any

from numpy.typing import NDArray

class Forest:
    def __init__(
        self,
        kind: int,
        targets: int,
        nodes: NDArray[Any],
        trees: NDArray[Any],
        columns: NDArray[Any],
        vectors: NDArray[Any],
    ) -> None: ...
    def run(self, rows: NDArray[Any], features: int, out: NDArray[Any]) -> None: ...
