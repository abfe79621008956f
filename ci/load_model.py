"""Makes the models that load tests and capacity searches run on: `python ci/load_model.py light|heavy REPOSITORY`.

light: 20 trees of depth 4. heavy: 1,000 trees of depth 8. Both take 30 floats; trained on rows drawn with a fixed seed.
"""

import sys

import numpy as np
import xgboost

from onnxpress import convert

SIZES = {"light": (20, 4), "heavy": (1000, 8)}
ROWS, FEATURES = 2000, 30


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in SIZES:
        sys.stderr.write(f"usage: {sys.argv[0]} {'|'.join(SIZES)} REPOSITORY\n")
        return 2
    name, repository = sys.argv[1:]
    trees, depth = SIZES[name]
    source = np.random.default_rng(0)
    rows = source.normal(size=(ROWS, FEATURES)).astype(np.float32)
    # A regressor: its answer is the trees' sum alone, which is what costs time.
    target = rows[:, 0] + rows[:, 1] * rows[:, 2] + source.normal(size=ROWS) / 10
    model = xgboost.XGBRegressor(n_estimators=trees, max_depth=depth, learning_rate=0.05, random_state=0)
    package = convert(model.fit(rows, target), rows, name=name).save(repository)
    sys.stdout.write(f"{package}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
