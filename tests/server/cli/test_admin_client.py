"""What the client of the admin port sends before anybody has answered."""

import socket
import threading
from pathlib import Path

import pytest

from onnxpress.cli.options import FailedError
from onnxpress.protos.admin_pb2 import ListModelsRequest
from onnxpress.server.cli.admin_client import AdminClient, TlsFiles
from tests.server_process import PATIENCE_S

TLS_HANDSHAKE = b"\x16\x03"
HTTP2 = b"PRI * HTTP/2.0"


def first_bytes(host: str, token: str = "s3cret-value") -> tuple[bytes, str]:
    """What a server that hangs up at once is sent, and what the command says then."""
    with socket.create_server((host, 0)) as server:
        server.settimeout(PATIENCE_S)
        heard: list[bytes] = []

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(65536))

        thread = threading.Thread(target=hang_up)
        thread.start()
        address = f"{host}:{server.getsockname()[1]}"
        with AdminClient(address, token, TlsFiles()) as client, pytest.raises(FailedError) as caught:
            client.call("ListModels", ListModelsRequest())
        thread.join()
    return heard[0], str(caught.value).replace(address, "HERE")


def test_beyond_loopback_nothing_is_sent_in_plain_text() -> None:
    """Without any flag the client begins with a TLS handshake there, so that its token cannot be read on the way."""
    # All of 127.0.0.0/8 is this machine, and only 127.0.0.1 is what settings call loopback.
    sent, told = first_bytes("127.0.0.2")
    assert sent.startswith(TLS_HANDSHAKE)
    assert b"s3cret" not in sent
    assert told.startswith("no server answers at HERE over TLS: ")


def test_on_loopback_it_is_plain_text_unless_asked() -> None:
    """As the server is there; one that hangs up may want TLS, and the message says so."""
    sent, told = first_bytes("127.0.0.1")
    assert sent.startswith(HTTP2)
    assert told == "no server answers at HERE: it may want TLS (--tls-ca-file)"


def test_tls_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file is an OSError that names it, for the command to tell."""
    with pytest.raises(FileNotFoundError, match="none"):
        AdminClient("127.0.0.1:1", "", TlsFiles(ca=tmp_path / "none"))


def test_a_host_that_does_not_exist_has_refused_nothing() -> None:
    """It could not be asked, which is another exit code than a server that declines."""
    with (
        AdminClient("host.invalid:8003", "", TlsFiles()) as client,
        pytest.raises(
            FailedError, match=r"no server answers at host\.invalid:8003 over TLS: errors resolving"
        ) as caught,
    ):
        client.call("ListModels", ListModelsRequest())
    assert caught.value.exit_code == 1
