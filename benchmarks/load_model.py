"""Makes the models of load tests and capacity searches: `python -m benchmarks.load_model light|heavy REPOSITORY`.

light: 20 trees of depth 4. heavy: 1,000 trees of depth 8. Both take 30 floats, and are trained on rows drawn with a
fixed seed.
"""

from pathlib import Path

import click
import numpy as np
import xgboost

from onnxpress import convert

SIZES = {"light": (20, 4), "heavy": (1000, 8)}  # trees, depth
ROWS, FEATURES = 2000, 30


def save(name: str, repository: Path) -> Path:
    """Trains and compiles the model `name`, and writes it as a new version; the version's folder."""
    trees, depth = SIZES[name]
    source = np.random.default_rng(0)
    rows = source.normal(size=(ROWS, FEATURES)).astype(np.float32)
    # A regressor's output is the sum of its trees, so a run costs the trees and nothing else.
    target = rows[:, 0] + rows[:, 1] * rows[:, 2] + source.normal(size=ROWS) / 10
    model = xgboost.XGBRegressor(n_estimators=trees, max_depth=depth, learning_rate=0.05, random_state=0)
    return convert(model.fit(rows, target), rows, name=name).save(repository)


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(list(SIZES)))
@click.argument("repository", type=click.Path(file_okay=False, path_type=Path))
def main(name: str, repository: Path) -> None:
    click.echo(save(name, repository))


if __name__ == "__main__":
    main()
