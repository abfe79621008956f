"""What an orchestrator asks."""

from onnxpress.server.http.app import build_app
from tests.server.http.serving import ask, counting, serving


def test_ready_is_not_alive() -> None:
    """A server that is loading or draining is alive and must not be restarted; it is not ready for requests."""
    ready = False
    with serving(ready=lambda: ready) as port:
        assert [ask(port, path)[::2] for path in ("/healthz", "/readyz")] == [(200, b"alive\n"), (503, b"not ready\n")]
        ready = True
        assert ask(port, "/readyz")[::2] == (200, b"ready\n")


def test_troubles_are_told_below_and_change_nothing() -> None:
    """What an engineer should know stands below the first line, whether or not the server is ready."""
    ready = True
    troubles = ["model 'churn': version 2 of epoch 6 answers here, not version 3 of epoch 7: größe"]
    app = build_app(counting(), lambda: ready, lambda: troubles)
    with serving(app) as port:
        text = "".join(f"{line}\n" for line in troubles)
        assert ask(port, "/readyz")[::2] == (200, f"ready\n{text}".encode())
        ready = False
        assert ask(port, "/readyz")[::2] == (503, f"not ready\n{text}".encode())
        assert ask(port, "/healthz")[::2] == (200, b"alive\n")
