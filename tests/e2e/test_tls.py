"""TLS and mTLS on the grpcio front, with certificates that change while it serves."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import trustme

from onnxpress.protos.inference_pb2 import ServerLiveRequest
from onnxpress.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.answers import number_rows
from tests.inference_calls import decode, request
from tests.model_repository import Models
from tests.server_process import ServerProcess

DEADLINE_S = 20.0
Start = Callable[..., ServerProcess]


class Certificates:
    """PEM files of an authority and a server certificate for 127.0.0.1, written where the server reads them."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key, self.client_ca = (folder / name for name in ("server.pem", "key.pem", "ca.pem"))
        self.renew()

    def renew(self) -> trustme.CA:
        """A new authority, as if all certificates had been replaced."""
        self.authority = trustme.CA()
        issued = self.authority.issue_cert("127.0.0.1")
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.client_ca.write_bytes(self.authority.cert_pem.bytes())
        return self.authority

    def flags(self, *, mutual: bool = False) -> tuple[str, ...]:
        flags = ("--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key))
        return (*flags, "--tls-client-ca-file", str(self.client_ca)) if mutual else flags


def channel(server: ServerProcess, authority: trustme.CA, client: trustme.LeafCert | None = None) -> grpc.Channel:
    pair = (client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), *pair)
    # A channel of its own: gRPC would share connections, and with them certificates, between equal channels.
    return grpc.secure_channel(server.grpc, credentials, options=(("grpc.use_local_subchannel_pool", 1),))


def live(connection: grpc.Channel) -> bool:
    with connection:
        return GRPCInferenceServiceStub(connection).ServerLive(ServerLiveRequest(), timeout=DEADLINE_S).live


def test_inference_over_tls(start: Start, models: Models, tmp_path: Path) -> None:
    """The same answers as without, and no talk with who speaks plain text or trusts another authority."""
    files = Certificates(tmp_path)
    server = start("numbers", front="grpcio", flags=files.flags())
    rows = number_rows(3)
    with channel(server, files.authority) as connection:
        answer = GRPCInferenceServiceStub(connection).ModelInfer(
            request({"input": rows}, version="3"), timeout=DEADLINE_S
        )
    expected = models.answers("numbers/3")({"input": rows})
    assert {name: array.tobytes() for name, array in decode(answer).items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
    for stranger in (grpc.insecure_channel(server.grpc), channel(server, trustme.CA())):
        with pytest.raises(grpc.RpcError) as refusal:
            live(stranger)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


def test_clients_must_show_a_certificate(start: Start, tmp_path: Path) -> None:
    """With a client authority only its certificates are let in."""
    files = Certificates(tmp_path)
    server = start("price", front="grpcio", flags=files.flags(mutual=True))
    assert live(channel(server, files.authority, files.authority.issue_cert("client")))
    for stranger in (None, trustme.CA().issue_cert("client")):
        with pytest.raises(grpc.RpcError):
            live(channel(server, files.authority, stranger))


def test_certificates_are_reloaded(start: Start, tmp_path: Path) -> None:
    """New connections get the certificate that lies there now; half-written files keep the old one."""
    files = Certificates(tmp_path)
    server = start("price", front="grpcio", flags=files.flags())
    old = files.authority
    assert live(channel(server, old))
    new = files.renew()
    assert live(channel(server, new))
    with pytest.raises(grpc.RpcError):
        live(channel(server, old))
    files.certificate.unlink()
    assert live(channel(server, new))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--tls-cert-file", "a.pem", "--tls-key-file", "b.pem", "--front", "native"), "front native speaks no TLS"),
        (("--tls-cert-file", "a.pem"), "go together"),
        (("--tls-cert-file", "a.pem", "--tls-key-file", "b.pem"), "cannot read the TLS file a.pem"),
    ],
)
def test_wrong_tls_settings_are_one_clear_line(
    flags: tuple[str, ...], message: str, tmp_path: Path, models: Models
) -> None:
    """What cannot work is refused at start, with exit code 2."""
    repository = models.copy(tmp_path / "repository", "price")
    with ServerProcess(repository, *flags, front="grpcio") as server:
        assert server.wait() == 2
        assert message in server.log.splitlines()[-1]
