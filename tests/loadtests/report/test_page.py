"""The files of a load test: the page, JUnit XML and report.json."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from onnxpress.loadtests.cli import parsed
from onnxpress.loadtests.measure.answers import Outcome
from onnxpress.loadtests.measure.latency import Latencies
from onnxpress.loadtests.report.charts import Axis, Series, chart, log_axis
from onnxpress.loadtests.report.page import page
from onnxpress.loadtests.report.result import Result
from onnxpress.loadtests.settings import Settings, settings_of
from onnxpress.loadtests.verdict.slo import Exit
from onnxpress.loadtests.verdict.swaps import Swap
from onnxpress.loadtests.workload.shapes import Trial
from tests.documented import check_documented
from tests.loadtests.verdict.test_slo import samples, tally

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def settings(repository: Path, tmp_path: Path) -> Settings:
    words = ["swap", "--samples-min", "100", "--report-dir", str(tmp_path / "report")]
    words += [f"--package={repository / 'churn' / version}" for version in ("1", "2")]
    return settings_of(parsed(words))


@pytest.fixture
def result(settings) -> Result:
    """A swap suite with one clean swap, one broken objective, and text that must be escaped."""
    measured = tally(samples(900, 5), samples(100, 250), samples(5, 3, Outcome.ERROR))
    measured.messages["INTERNAL: <script>alert(1)</script>"] = 5
    return Result.make(settings, measured, swaps=[Swap(2, 4.0, 4.2)], first=1)


class Page(HTMLParser):
    """Tags in order, that every element is closed, and every address in it."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(result):
    """The page has no address, script or import, escapes text of the server, and closes every element."""
    text = page(result.document)
    read = Page(text)
    assert not read.open
    assert read.addresses == []
    assert "script" not in read.tags
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?://|@import|url\(", text)
    assert read.tags.count("svg") == 4


def test_the_page_shows_what_was_broken_and_marks_the_swap(result):
    """The verdict, the broken objective, and the event in both charts over time."""
    text = page(result.document)
    assert '<body class="broken">' in text
    assert "At least one objective was broken" in text
    assert text.count('<line class="mark"') == 2
    assert "swap to 2" in text


def test_junit_has_a_case_per_objective(result, settings):
    """A failure for each broken one, an error when the measurement is invalid."""
    result.publish()
    suite = ET.parse(settings.report_dir / "junit.xml").getroot().find("testsuite")
    failures = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert failures == {check.name for check in result.verdict.checks if not check.held}
    assert {"p95", "p99", "error rate"} <= failures
    assert int(suite.get("failures")) == len(failures)
    assert int(suite.get("tests")) == len(suite.findall("testcase"))
    assert suite.get("errors") == "0"


def test_json_is_what_a_later_run_compares_with(result, settings):
    """The stored histogram is the whole distribution, and a baseline adds its own curve and table."""
    assert result.publish() is Exit.BROKEN
    stored = json.loads((settings.report_dir / "report.json").read_text())
    assert len(Latencies.decode(stored["total"]["hdr"])) == 1000
    later = Result.make(
        replace(settings, baseline=settings.report_dir / "report.json"), tally(samples(1000, 4)), swaps=[], first=1
    )
    text = page(later.document)
    assert "Compared with the baseline" in text
    assert "<title>baseline</title>" in text


def test_the_text_names_what_was_broken(result):
    """The text has the broken objective and the verdict."""
    text = result.text()
    assert re.search(r"BROKEN steady: p99 250\.\d+ < 100 ms", text)
    assert text.strip().endswith("broken (exit 1)")


def test_json_for_programs_has_the_documented_keys(settings, result, capsys):
    """`--output json` prints one object with the keys and types of docs/cli.md instead of the text."""
    replace(result, output="json").publish()
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "onnxpress.loadtest/v2"
    check_documented(told)
    assert (told["verdict"], told["exit"], told["due"], told["errors"]) == ("broken", 1, 1005, 5)
    assert {check["name"] for check in told["checks"] if not check["held"]} >= {"p95", "p99", "error rate"}
    assert settings.output == "text"
    result.publish()
    assert capsys.readouterr().out == result.text()


def test_a_ramp_that_the_generator_ended_is_invalid(settings):
    """When the generator reaches its limits near the capacity found, the measurement is invalid: exit 4."""
    ramp = replace(settings, suite="ramp")
    trials = [Trial(100, held=True), Trial(105, held=False), Trial(100, held=True, confirming=True)]
    measured = tally(samples(1000, 5))
    measured.phases[0] = replace(measured.phases[0], name="confirming 3: 100/s")
    assert Result.make(ramp, measured, trials=trials).verdict.exit is Exit.HELD
    limited = Result.make(ramp, measured, trials=trials, generator_limit=105)
    assert limited.verdict.exit is Exit.INVALID
    assert "the generator exceeded its limits at 105/s" in limited.verdict.invalid_reasons[0]
    assert "<svg" in page(limited.document)


def test_axes_are_round_and_reach_around_their_values():
    """A log axis goes from decade to decade; a linear one has round ticks; places stay within the ends."""
    axis = log_axis("ms", [0.7, 140.0], 0.01)
    assert (axis.low, axis.high) == (0.1, 1000)
    assert [text for _, text in axis.marks()] == ["0.1", "1", "10", "100", "1,000"]
    assert axis.place(1e9) == 1.0
    assert axis.place(0.0) == 0.0
    assert [value for value, _ in Axis("s", 0, 61).marks()] == [0, 20, 40, 60]


def test_a_line_is_drawn_where_its_points_are():
    """Twice the value is twice as high: the middle of the axis is the middle of the chart."""
    drawn = chart("test", [Series("a", "c1", [(0, 0), (5, 50), (10, 100)])], Axis("x", 0, 10), Axis("y", 0, 100))
    points = re.search(r'points="([^"]*)"', drawn).group(1).split()
    (left, low), (middle, half), (right, high) = [tuple(map(float, point.split(","))) for point in points]
    assert middle == pytest.approx((left + right) / 2, abs=0.2)
    assert half == pytest.approx((low + high) / 2, abs=0.2)
    assert high < low


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium on this machine")
def test_the_page_opens_in_a_browser_without_a_network(result, settings, tmp_path):
    """Headless Chromium, with no way out, lays the page out: charts have a size and the broken row its colour."""
    result.publish()
    probe = tmp_path / "probe.html"
    measure = (
        "<script>addEventListener('load', () => { const box = document.querySelector('svg').getBoundingClientRect();"
        "const cell = getComputedStyle(document.querySelector('tr.broken td'));"
        "document.title = [Math.round(box.width), Math.round(box.height), cell.color,"
        "performance.getEntriesByType('resource').length].join('|'); })</script>"
    )
    probe.write_text((settings.report_dir / "report.html").read_text().replace("</body>", measure + "</body>"))
    browser = next(found for name in BROWSERS if (found := shutil.which(name)))
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,1200",
        "--dump-dom", probe.as_uri(),
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    width, height, colour, resources = re.search(r"<title>([^<]*)</title>", said).group(1).split("|")
    assert int(width) > 800
    assert int(height) > 200
    assert colour == "rgb(179, 38, 30)"
    assert resources == "0"
