"""The lock of the audit log: one server at a time, and a bounded wait for it."""

import fcntl
from pathlib import Path

import pytest

from onnxpress.server.errors import StateWriteError
from onnxpress.server.versions import audit_lock
from onnxpress.server.versions.audit_lock import LOCK_FILE, AuditLock


def test_a_lock_that_is_never_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs with the lock is named, after a time that is bounded."""
    monkeypatch.setattr(audit_lock, "LOCK_S", 0.05)
    lock = AuditLock(tmp_path, "here.1.00")
    with (tmp_path / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("there.7.00")
        file.flush()
        with pytest.raises(StateWriteError, match=r"locked by server there\.7\.00"), lock.held():
            pytest.fail("it is held by another")
    with lock.held():
        assert (tmp_path / LOCK_FILE).read_text() == "here.1.00"
