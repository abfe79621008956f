import os

import pytest

from onnxpress.server.cli.admin import _actor

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def test_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch):
    """Kubernetes may run the image as any number, which no passwd file knows; the audit log still says who."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)
    assert _actor() == f"uid 1234567@{os.uname().nodename}"


def test_user_with_a_name_is_named(monkeypatch: pytest.MonkeyPatch):
    """A user whom the machine knows is named with the machine."""
    monkeypatch.setenv("LOGNAME", "ada")
    assert _actor() == f"ada@{os.uname().nodename}"


def test_a_name_beyond_ascii_is_escaped(monkeypatch: pytest.MonkeyPatch):
    """gRPC metadata is ASCII; without the escape the whole command would be refused."""
    monkeypatch.setenv("LOGNAME", "jos\u00e9")
    assert _actor() == f"jos\\xe9@{os.uname().nodename}"
