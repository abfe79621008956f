"""Which PEM files are accepted for TLS; unusable ones, which gRPC reports as a taken port, are named."""

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from onnxpress.server.errors import UsageError
from onnxpress.server.front.tls import Files, server_credentials


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A certificate with its key and authority, another key, the key encrypted, and a file that is no PEM."""
    authority = trustme.CA()
    issued, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    contents = {
        "cert": issued.cert_chain_pems[0].bytes(), "key": issued.private_key_pem.bytes(),
        "ca": authority.cert_pem.bytes(), "other": other.private_key_pem.bytes(), "secret": secret, "junk": b"junk\n",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_good_files(folder: Path) -> None:
    """Usable files give credentials, with or without a client CA; without a certificate there are none."""
    assert server_credentials(Files(folder / "cert", folder / "key", Path())) is not None
    assert server_credentials(Files(folder / "cert", folder / "key", folder / "ca")) is not None
    assert server_credentials(Files(Path(), Path(), Path())) is None


@pytest.mark.parametrize(
    ("cert", "key", "authority", "told"),
    [
        ("none", "key", "ca", "cannot read the TLS file .*none"),
        ("junk", "key", "ca", "junk and .*key are not a PEM certificate and its key"),
        ("cert", "junk", "ca", "cert and .*junk are not a PEM certificate and its key"),
        ("cert", "other", "ca", "cert and .*other are not a PEM certificate and its key"),
        ("cert", "key", "junk", "junk holds no PEM certificates"),
        ("cert", "secret", "ca", "the private key is encrypted"),
    ],
)
def test_files_that_cannot_work(folder: Path, cert: str, key: str, authority: str, told: str) -> None:
    """The error names the file that is missing, not PEM, encrypted, or a key of another certificate."""
    with pytest.raises(UsageError, match=told):
        server_credentials(Files(folder / cert, folder / key, folder / authority))
