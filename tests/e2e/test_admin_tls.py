"""The admin port over TLS and mTLS, by the command line, with the audited name from the certificate or the token."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import trustme

from tests.server_process import PATIENCE_S, ROOT, ServerProcess

Start = Callable[..., ServerProcess]


class Files:
    """PEM files of an authority, the server and two people."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = trustme.CA()
        self.ca = self.write("ca", authority.cert_pem)
        self.server = self.pair("server", authority.issue_cert("127.0.0.1"))
        self.ana = self.pair("ana", authority.issue_cert("ana.example", common_name="ana"))
        self.mallory = self.pair("mallory", authority.issue_cert("mallory.example", common_name="mallory"))
        self.stranger = self.pair("stranger", trustme.CA().issue_cert("ana.example", common_name="ana"))

    def write(self, name: str, pem: trustme.Blob) -> str:
        pem.write_to_path(str(self.folder / name))
        return str(self.folder / name)

    def pair(self, name: str, issued: trustme.LeafCert) -> tuple[str, ...]:
        chain = self.write(f"{name}.pem", issued.cert_chain_pems[0])
        return ("--tls-cert-file", chain, "--tls-key-file", self.write(f"{name}-key.pem", issued.private_key_pem))

    def flags(self) -> tuple[str, ...]:
        return tuple(word.replace("--tls", "--admin-tls") for word in self.server)


def onnxpress(server: ServerProcess, *words: str) -> tuple[int, str]:
    """Exit code, and what was printed on both outputs."""
    command = [sys.executable, "-m", "onnxpress", *words, "--server", server.admin]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_client_certificate_is_who_it_was(start: Start, tmp_path: Path) -> None:
    """Only certificates with a name in admin_names may call, and history has the certificate's name first."""
    files = Files(tmp_path)
    flags = (*files.flags(), "--admin-tls-client-ca-file", files.ca, "--admin-names", "ana,ci-bot")
    server = start("numbers", flags=flags)
    trusted = ("--tls-ca-file", files.ca)
    code, told = onnxpress(server, "deploy", "numbers", "2", *trusted, *files.ana)
    assert code == 0, told
    code, told = onnxpress(server, "history", "numbers", *trusted, *files.ana)
    assert code == 0, told
    assert " by ana on behalf of " in told
    code, told = onnxpress(server, "status", *trusted, *files.mallory)
    assert (code, "mallory, mallory.example is not in admin_names" in told) == (3, True)
    for nobody in ((*trusted, *files.stranger), trusted):
        code, told = onnxpress(server, "status", *nobody)
        assert (code, "over TLS" in told) == (1, True), told
    assert onnxpress(server, "status")[0] == 1


def test_a_token_over_tls_is_who_it_was(start: Start, tmp_path: Path) -> None:
    """Beyond loopback with TLS and a token; history has the token's name first, and the token is never logged."""
    files = Files(tmp_path)
    (tmp_path / "tokens").write_text("ci-bot:s3cret-value\n")
    (tmp_path / "mine").write_text("s3cret-value\n")
    flags = (*files.flags(), "--admin-token-file", str(tmp_path / "tokens"), "--admin-address", "0.0.0.0:0")
    server = start("numbers", flags=flags)
    mine = ("--tls-ca-file", files.ca, "--token-file", str(tmp_path / "mine"))
    assert onnxpress(server, "deploy", "numbers", "2", *mine)[0] == 0
    code, told = onnxpress(server, "history", "numbers", *mine)
    assert (code, " by ci-bot on behalf of " in told) == (0, True), told
    assert onnxpress(server, "status", "--tls-ca-file", files.ca)[0] == 3
    assert onnxpress(server, "status", "--tls-ca-file", str(tmp_path / "none"))[0] == 2
    assert "s3cret-value" not in server.log
