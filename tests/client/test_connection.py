"""Addresses and what admin calls carry."""

import getpass

import pytest

from onnxpress.client.connection import Connection
from onnxpress.client.errors import ClientError


def connection(address: str, admin: str | None = None, actor: str = "") -> Connection:
    return Connection(address, admin, None, None, "", actor, ())


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
    """Unless it is named."""
    assert connection(address).admin() == admin
    assert connection(address, "elsewhere:1").admin() == "elsewhere:1"


@pytest.mark.parametrize("address", ["ipv4:10.0.0.1:8001,10.0.0.2:8001", "unix:/run/onnxpress.sock", "localhost"])
def test_an_admin_port_that_cannot_be_derived_must_be_named(address: str) -> None:
    """Several addresses have no one admin port."""
    with pytest.raises(ClientError, match="name it, Client"):
        connection(address).admin()


def test_the_actor_is_who_runs_it_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the audit log; a user without a name is a number."""
    assert dict(connection("a:1", actor="ci").admin_metadata()) == {"x-onnxpress-actor": "ci"}
    assert dict(connection("a:1").admin_metadata())["x-onnxpress-actor"].startswith(f"{getpass.getuser()}@")

    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nobody)
    assert dict(connection("a:1").admin_metadata())["x-onnxpress-actor"].startswith("uid ")
