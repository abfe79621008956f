"""Who may call the admin port, and what the audit log calls them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from onnxpress.server.errors import PermissionDeniedError, UnauthenticatedError, UsageError
from onnxpress.server.rpc.gate import Gate
from onnxpress.server.settings import Settings

LIST = "/onnxpress.v1.Admin/ListModels"


class Call:
    """What grpc tells of a call."""

    def __init__(self, token: str = "", declared: str = "", certificate: Mapping[str, Sequence[bytes]] | None = None):
        self._metadata = [("x-onnxpress-actor", declared)] if declared else []
        self._metadata += [("authorization", f"Bearer {token}")] if token else []
        self._certificate = certificate or {}

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        return self._certificate

    def peer(self) -> str:
        return "ipv4:127.0.0.1:7"


def gate(tmp_path: Path, tokens: str = "", **changed: Any) -> Gate:
    if tokens:
        (tmp_path / "tokens").write_text(tokens)
        changed["admin_token_file"] = tmp_path / "tokens"
    if changed.pop("mutual", False):
        tls = {f"admin_tls_{name}_file": Path(name) for name in ("cert", "key", "client_ca")}
        changed |= tls
    return Gate(Settings(repository=tmp_path, **changed))


def test_without_credentials_the_declared_actor_is_recorded(tmp_path: Path) -> None:
    """On loopback without tokens and mTLS it is all there is; without it the address of the caller is recorded."""
    assert gate(tmp_path).check(Call(declared="ana@host"), LIST) == "ana@host"
    assert gate(tmp_path).check(Call(), LIST) == "ipv4:127.0.0.1:7"


@pytest.mark.parametrize(
    ("tokens", "token", "actor"),
    [
        ("ci-bot:s1\nana:s2\n", "s1", "ci-bot"),
        ("# people\n\n  ana : s2 \n", "s2", "ana"),
        ("urn:team:ops:s3", "s3", "urn:team:ops"),
        ("s4\n", "s4", "token"),
    ],
)
def test_the_name_of_the_token_is_who_calls(tmp_path: Path, tokens: str, token: str, actor: str) -> None:
    """What the caller says of itself follows the authenticated name and cannot replace it."""
    assert gate(tmp_path, tokens).check(Call(token), LIST) == actor
    assert gate(tmp_path, tokens).check(Call(token, "root@host"), LIST) == f"{actor} on behalf of root@host"


def test_without_the_token_nobody_may_call(tmp_path: Path) -> None:
    """None, a wrong one, and the whole line of the file are unauthenticated."""
    guarded = gate(tmp_path, "ci-bot:s1")
    with pytest.raises(UnauthenticatedError):
        guarded.check(Call(declared="ci-bot"), LIST)
    for wrong in ("s2", "ci-bot:s1", "s", "s11"):
        with pytest.raises(UnauthenticatedError, match="not valid"):
            guarded.check(Call(wrong), LIST)


@pytest.mark.parametrize(
    ("certificate", "actor"),
    [
        ({"x509_common_name": [b"ana"], "x509_subject_alternative_name": [b"a.example"]}, "ana"),
        ({"x509_subject_alternative_name": [b"spiffe://x/ana", b"b"]}, "spiffe://x/ana"),
        ({"x509_common_name": [b""], "x509_subject_alternative_name": [b"b"]}, "b"),
    ],
)
def test_the_certificate_names_who_calls(
    tmp_path: Path, certificate: Mapping[str, Sequence[bytes]], actor: str
) -> None:
    """The common name, else the first alternative name."""
    assert gate(tmp_path, mutual=True).check(Call(certificate=certificate), LIST) == actor
    assert gate(tmp_path, mutual=True).check(Call("", "x@y", certificate), LIST) == f"{actor} on behalf of x@y"


def test_a_certificate_without_a_name_is_denied(tmp_path: Path) -> None:
    """The audit log must be able to say who it was."""
    with pytest.raises(PermissionDeniedError, match="neither common nor alternative name"):
        gate(tmp_path, mutual=True).check(Call(certificate={"x509_common_name": [b""]}), LIST)


def test_both_are_wanted_where_both_are_set(tmp_path: Path) -> None:
    """A certificate does not replace the token; the certificate says who it is."""
    both, certificate = gate(tmp_path, "ci:s1", mutual=True), {"x509_common_name": [b"ana"]}
    with pytest.raises(UnauthenticatedError):
        both.check(Call(certificate=certificate), LIST)
    assert both.check(Call("s1", certificate=certificate), LIST) == "ana"


def test_names_admit_some_of_those_who_can_prove_theirs(tmp_path: Path) -> None:
    """An authority signs for many; admin_names says who of them may call, by any of a certificate's names."""
    some = gate(tmp_path, mutual=True, admin_names=("ci-bot", "b.example"))
    assert some.check(Call(certificate={"x509_common_name": [b"ci-bot"]}), LIST) == "ci-bot"
    second = {"x509_common_name": [b"b"], "x509_subject_alternative_name": [b"a.example", b"b.example"]}
    assert some.check(Call(certificate=second), LIST) == "b.example"
    with pytest.raises(PermissionDeniedError, match="ana is not in admin_names"):
        some.check(Call("", "ci-bot", {"x509_common_name": [b"ana"]}), LIST)


@pytest.mark.parametrize("tokens", ["\n", "# nothing\n", "ana:\n", ":s1\n", "ana:grün\n", "ana root s1\n"])
def test_a_token_file_without_tokens_is_refused(tmp_path: Path, tokens: str) -> None:
    """An empty file must not open the port to everybody."""
    with pytest.raises(UsageError, match="admin_token_file"):
        gate(tmp_path, tokens)


def test_a_viewer_may_only_look(tmp_path: Path) -> None:
    """Its token is valid for what changes nothing; anything else, and any unknown method, names the role it needs."""
    guarded = gate(tmp_path, "grafana view s1\nana operate s2\n")
    assert guarded.check(Call("s1"), LIST) == "grafana"
    for method in ("/onnxpress.v1.Admin/Deploy", "/no/such"):
        with pytest.raises(PermissionDeniedError, match="needs the role operate, and grafana has the role view"):
            guarded.check(Call("s1"), method)
        assert guarded.check(Call("s2"), method) == "ana"
