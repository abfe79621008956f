"""Authentication and authorization on the admin port, and the caller's name for the audit log."""

import hmac
from collections.abc import Iterator
from pathlib import Path

from onnxpress.server.errors import PermissionDeniedError, UnauthenticatedError, UsageError
from onnxpress.server.rpc.inference import Context
from onnxpress.server.settings import Settings

# The name of a token without a name in its file.
UNNAMED = "token"
DECLARED_MAX = 128
# Fields of the client's verified certificate as gRPC reports them, in the order in which the name is taken.
CERTIFICATE_NAMES = ("x509_common_name", "x509_subject_alternative_name")


class Gate:
    """Admits callers that prove an identity. Without tokens and mTLS, allowed on loopback only, it admits all."""

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError if the token file cannot be read or holds no token."""
        self._tokens = _read_tokens(settings.admin_token_file) if settings.admin_token_file != Path() else []
        self._certificates = settings.admin_tls_client_ca_file != Path()
        self._names = frozenset(settings.admin_names)

    def check(self, context: Context) -> str:
        """The caller for the audit log: the authenticated identity, then the actor that it declares.

        Raises UnauthenticatedError, PermissionDeniedError.
        """
        metadata = dict(context.invocation_metadata() or ())
        declared = str(metadata.get("x-onnxpress-actor", ""))[:DECLARED_MAX]
        if not self._tokens and not self._certificates:
            return declared or str(context.peer())
        proved = [*self._certificate_names(context), *self._token_names(str(metadata.get("authorization", "")))]
        admitted = [name for name in proved if not self._names or name in self._names]
        if not admitted:
            raise PermissionDeniedError(f"{', '.join(proved) or 'a certificate without a name'} is not in admin_names")
        return f"{admitted[0]} on behalf of {declared}" if declared else admitted[0]

    def _certificate_names(self, context: Context) -> Iterator[str]:
        """Certificates were verified against admin_tls_client_ca_file before."""
        if self._certificates:
            told = context.auth_context()
            names = [name.decode(errors="replace") for key in CERTIFICATE_NAMES for name in told.get(key, ())]
            if not any(names):
                raise PermissionDeniedError("the client certificate has neither common nor alternative name")
            yield from filter(None, names)

    def _token_names(self, given: str) -> Iterator[str]:
        if not self._tokens:
            return
        if not given:
            raise UnauthenticatedError("admin calls need `authorization: Bearer TOKEN`")
        # Every token is compared, each in constant time, so that the response time reveals nothing.
        names = [
            name for name, token in self._tokens if hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
        ]
        if not names:
            raise PermissionDeniedError("the admin token is wrong")
        yield names[0]


def _read_tokens(path: Path) -> list[tuple[str, str]]:
    """(name, token) of each line `name:token` or `token`; empty lines and those that begin with # are skipped."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read admin_token_file {path}: {error}") from error
    tokens = []
    for line in lines:
        if line and not line.startswith("#"):
            name, colon, token = line.rpartition(":")
            tokens.append((name.strip() if colon else UNNAMED, token.strip()))
    if not tokens or not all(name and token and token.isascii() and token.isprintable() for name, token in tokens):
        raise UsageError(f"admin_token_file {path} must hold lines `name:token` or `token`, in printable ASCII")
    return tokens
