"""The plot of throughput and latency."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from benchmarks.figures import QUANTILES, Run, middle

COLOURS = {
    "echo": "#9aa5b1", "onnxpress": "#1f6feb", "triton front": "#b9a33b", "triton": "#d97706", "mlserver": "#b42318",
}  # fmt: skip
LABELS = ["p50", "p95", "p99", "p99.9"]


def draw(servers: Mapping[str, Sequence[Run]], title: str, path: Path) -> None:
    """Writes an SVG of servers' runs at one load; equal figures give equal bytes."""
    runs = {name: servers[name] for name in COLOURS if name in servers}
    mpl.rcParams.update({"svg.hashsalt": "onnxpress", "font.size": 10, "svg.fonttype": "none"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    rates = [middle(of, "rate") for of in runs.values()]
    bars = left.barh(list(runs), rates, color=[COLOURS[name] for name in runs])
    left.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=4)
    left.set(title="requests per second", xlim=(0, max(rates, default=1.0) * 1.2))
    left.invert_yaxis()
    for name, of in runs.items():
        times = [middle(of, quantile) / 1e3 for quantile in QUANTILES]
        right.plot(LABELS, times, marker="o", color=COLOURS[name], label=name)
    right.set(title="latency, ms", yscale="log")
    right.grid(visible=True, axis="y", alpha=0.3)
    if runs:
        right.legend(frameon=False)
    for side in (left, right):
        side.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}, on cores shared with the load generator")
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
