"""What an orchestrator asks."""

from tests.server.http.serving import ask, serving


def test_ready_is_not_alive() -> None:
    """A server that is loading or draining is alive and must not be restarted; it is not ready for requests."""
    ready = False
    with serving(ready=lambda: ready) as port:
        assert [ask(port, path)[::2] for path in ("/healthz", "/readyz")] == [(200, b"alive\n"), (503, b"not ready\n")]
        ready = True
        assert ask(port, "/readyz")[::2] == (200, b"ready\n")
