"""The display of `serve` without a terminal: what it is told, and what it makes of it."""

import logging

from onnxpress.server.cli.loading import LoadingDisplay
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.lifecycle import State
from onnxpress.server.versions.status import ModelStatus, VersionStatus


class Line:
    """Notes what is done to the live line."""

    alive = True

    def __init__(self) -> None:
        self.done: list[str] = []

    def show(self, text: str) -> None:
        self.done.append(text)

    def above(self, text: str) -> None:
        self.done.append(f"above: {text}")

    def clear(self) -> None:
        self.done.append("clear")


def model(name: str, **states: State) -> ModelStatus:
    versions = tuple(VersionStatus(int(number.removeprefix("v")), state) for number, state in states.items())
    return ModelStatus(name, Desired(name, 1, 0), 1, 0, "", versions)


def test_the_line_names_what_loads_until_nothing_does() -> None:
    """All versions that load, of all models; ready and failed ones are not named, and the last one takes it away."""
    line = Line()
    display = LoadingDisplay(line)  # type: ignore[arg-type]
    display.watch(model("churn", v1=State.LOADING, v2=State.READY))
    display.watch(model("price", v3=State.LOADING))
    display.watch(model("churn", v1=State.FAILED, v2=State.READY))
    display.watch(model("price", v3=State.READY))
    first, second = "loading churn version 1", "loading churn version 1, price version 3"
    assert line.done == [first, second, "loading price version 3", "clear"]


def test_log_lines_go_above_it_and_the_end_of_logging_takes_it_away() -> None:
    """The server may end the process in the middle of a load; `logging.shutdown` is the last that it calls."""
    line = Line()
    display = LoadingDisplay(line)  # type: ignore[arg-type]
    display.handle(logging.makeLogRecord({"msg": "listening: %s", "args": ("grpc 8001",)}))
    logging.shutdown([lambda: display])  # type: ignore[list-item]
    assert line.done == ["above: listening: grpc 8001", "clear"]
