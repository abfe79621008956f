"""A compiled forest with one wrong bit."""

from dataclasses import replace

import numpy as np

from onnxpress.packages.forest.compiled import CompiledForest


def with_a_wrong_leaf(forest: bytes) -> bytes:
    """The same forest.npz, where one leaf of the first tree is one ulp larger."""
    compiled = CompiledForest.from_bytes(forest)
    walk = compiled.walks[0]
    nodes, end = walk.nodes.copy(), int(walk.trees["root"][1])
    leaf = int(np.flatnonzero(nodes["left"][:end] == np.arange(end))[0])
    nodes["threshold"][leaf] = np.nextafter(nodes["threshold"][leaf], np.float32(np.inf))
    return replace(compiled, walks=(replace(walk, nodes=nodes), *compiled.walks[1:])).to_bytes()
