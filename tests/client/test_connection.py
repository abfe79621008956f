"""Addresses, and the metadata of admin calls."""

import os

import pytest

from onnxpress.client.connection import Connection
from onnxpress.client.errors import ClientError

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def connection(address: str, admin: str | None = None, actor: str = "") -> Connection:
    return Connection(address, admin, None, None, "", actor, ())


def actor() -> str:
    """The default actor."""
    return dict(connection("a:1").admin_metadata())["x-onnxpress-actor"]


@pytest.mark.parametrize(
    ("address", "admin"),
    [
        ("localhost:8001", "localhost:8003"),
        ("10.0.0.7:9000", "10.0.0.7:8003"),
        ("[::1]:8001", "[::1]:8003"),
        ("dns:///onnxpress:8001", "dns:///onnxpress:8003"),
    ],
)
def test_the_admin_port_is_8003_of_the_same_host(address: str, admin: str) -> None:
    """Unless an admin address is given."""
    assert connection(address).admin() == admin
    assert connection(address, "elsewhere:1").admin() == "elsewhere:1"


@pytest.mark.parametrize("address", ["ipv4:10.0.0.1:8001,10.0.0.2:8001", "unix:/run/onnxpress.sock", "localhost"])
def test_an_admin_port_that_cannot_be_derived_must_be_named(address: str) -> None:
    """Several addresses have more than one admin port."""
    with pytest.raises(ClientError, match="name it, Client"):
        connection(address).admin()


def test_a_named_actor_is_sent_as_it_is() -> None:
    """The metadata has the given actor, and the token if there is one."""
    assert connection("a:1", actor="ci").admin_metadata() == (("x-onnxpress-actor", "ci"),)
    secret = Connection("a:1", None, None, None, "s3cret", "ci", ())
    assert dict(secret.admin_metadata())["authorization"] == "Bearer s3cret"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes may run an image as any number, which no passwd file knows; the audit log still says who acted."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)
    assert actor() == f"uid 1234567@{os.uname().nodename}"


@pytest.mark.parametrize(("name", "sent"), [("ada", "ada"), ("jos\u00e9", "jos\\xe9")])
def test_the_user_of_this_machine_is_the_actor(monkeypatch: pytest.MonkeyPatch, name: str, sent: str) -> None:
    """Other characters than ASCII are escaped, since gRPC would refuse to send the call."""
    monkeypatch.setenv("LOGNAME", name)
    assert actor() == f"{sent}@{os.uname().nodename}"
