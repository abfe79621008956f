"""What the HTTP port answers to what it does not have."""

import pytest

from tests.server.http.serving import ask, serving


def test_what_is_not_there_is_told_what_is() -> None:
    """404 names every path, so that whoever mistypes one need not look it up."""
    with serving() as port:
        for path in ("/", "/metric", "/metrics/"):
            status, _, body = ask(port, path)
            assert (status, body) == (404, b"not found; there are /metrics, /healthz, /readyz\n")


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_only_reading_is_allowed(path: str) -> None:
    """HEAD has the headers of GET and no body; other methods are 405 with those that are allowed."""
    with serving() as port:
        status, headers, body = ask(port, path)
        head_status, head_headers, head_body = ask(port, path, "HEAD")
        assert (status, head_status, head_body) == (200, 200, b"")
        assert len(body) > 0
        same = ("content-type", "content-length")
        assert [headers[name] for name in same] == [head_headers[name] for name in same]
        status, headers, _ = ask(port, path, "POST")
        assert (status, set(headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
