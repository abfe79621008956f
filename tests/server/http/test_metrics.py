"""The page that Prometheus scrapes."""

import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from onnxpress.server.http.app import build_app
from tests.server.http.serving import PATIENCE_S, ask, serving

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ((), "text/plain", False),
        (("Accept: text/html",), "text/plain", False),
        ((f"Accept: {OPEN_METRICS}",), OPEN_METRICS, True),
    ],
)
def test_format_is_negotiated(accept: tuple[str, ...], content_type: str, end: bool) -> None:
    """OpenMetrics for those who ask for it, Prometheus' text format for all others."""
    with serving() as port:
        status, headers, body = ask(port, "/metrics", "GET", *accept)
    assert status == 200
    assert headers["content-type"].startswith(content_type)
    assert "charset=utf-8" in headers["content-type"]
    assert b"asked_total 7.0\n" in body
    assert body.endswith(b"# EOF\n") == end


class Stuck:
    """A collector that does not return before it may."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def collect(self) -> Iterator[Metric]:
        self.entered.set()
        assert self.go.wait(PATIENCE_S)
        yield GaugeMetricFamily("slow", "at last", 1)


def test_a_slow_scrape_keeps_nobody_else_waiting() -> None:
    """The page is rendered beside the control loop: probes are answered meanwhile."""
    registry, stuck, pages = CollectorRegistry(), Stuck(), []
    stuck.go.set()
    registry.register(stuck)  # asks the collector for its names
    stuck.go.clear()
    stuck.entered.clear()
    with serving(build_app(registry, lambda: True)) as port:
        scraper = threading.Thread(target=lambda: pages.append(ask(port, "/metrics")))
        scraper.start()
        assert stuck.entered.wait(PATIENCE_S)
        assert ask(port, "/healthz")[0] == 200
        assert not pages
        stuck.go.set()
        scraper.join(PATIENCE_S)
    assert b"slow 1.0\n" in pages[0][2]
