"""TLS and mTLS of the grpcio front and the admin port; certificates are reloaded when their files change."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc

from onnxpress.server.errors import UsageError


@dataclass(frozen=True)
class Files:
    """Paths of the PEM files; `client_ca` is `Path()` if clients need no certificate."""

    certificate: Path
    key: Path
    client_ca: Path

    def stamp(self) -> tuple[int, ...]:
        """The files' modification times in ns, which change when a file is replaced or rewritten. Raises OSError."""
        return tuple(path.stat().st_mtime_ns for path in self._paths())

    def read(self) -> grpc.ServerCertificateConfiguration:
        """The files as gRPC takes them. Raises OSError."""
        contents = [path.read_bytes() for path in self._paths()]
        return grpc.ssl_server_certificate_configuration(
            [(contents[1], contents[0])], root_certificates=contents[2] if len(contents) > 2 else None
        )

    def check(self) -> None:
        """Checks that OpenSSL can use the files: for bad ones gRPC reports a taken port. Raises OSError, UsageError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except ssl.SSLError as error:
            raise UsageError(f"{self.certificate} and {self.key} are not a PEM certificate and its key") from error
        if self.client_ca != Path():
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise UsageError(f"{self.client_ca} holds no PEM certificates") from error

    def _paths(self) -> list[Path]:
        return [self.certificate, self.key, *([self.client_ca] if self.client_ca != Path() else [])]


class Reloader:
    """gRPC calls it at every handshake, one at a time: a new configuration if the files have changed, else None.

    If the files cannot be read or are half-written, gRPC keeps the configuration that it has.
    """

    def __init__(self, files: Files, stamp: tuple[int, ...]) -> None:
        self._files = files
        self._stamp = stamp

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return None
            configuration = self._files.read()
        except OSError:
            return None
        self._stamp = stamp
        return configuration


def server_credentials(files: Files) -> grpc.ServerCredentials | None:
    """Credentials of a port, or None without a certificate. Raises UsageError when a file cannot be used."""
    if files.certificate == Path():
        return None
    try:
        stamp, configuration = files.stamp(), files.read()
        files.check()
    except OSError as error:
        raise UsageError(f"cannot read the TLS file {error.filename}: {error.strerror}") from error
    return grpc.dynamic_ssl_server_credentials(
        configuration,
        # gRPC's documentation allows None as the result, its type annotation does not.
        cast("Callable[[], grpc.ServerCertificateConfiguration]", Reloader(files, stamp)),
        require_client_authentication=files.client_ca != Path(),
    )


def _no_password() -> str:
    """Refuses encrypted keys: without this callback OpenSSL prompts for the password at the terminal and blocks."""
    raise UsageError("the private key is encrypted: there is no setting for its password")
