"""Authentication and authorization on the admin port, and the caller's name for the audit log."""

from collections.abc import Iterator
from pathlib import Path

from onnxpress.server.errors import PermissionDeniedError, UnauthenticatedError
from onnxpress.server.rpc.inference import Context
from onnxpress.server.rpc.roles import Role, required_role
from onnxpress.server.rpc.tokens import Token, TokenFile
from onnxpress.server.settings import Settings

DECLARED_MAX = 128
SCHEME = "Bearer "
# Fields of the client's verified certificate as gRPC reports them, in the order in which the name is taken.
CERTIFICATE_NAMES = ("x509_common_name", "x509_subject_alternative_name")


class Gate:
    """Admits callers that prove an identity with the role that the RPC needs.

    Without tokens and mTLS, allowed on loopback only, it admits all.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError if the token file cannot be read or is not one."""
        self._tokens = TokenFile(settings.admin_token_file) if settings.admin_token_file != Path() else None
        self._certificates = settings.admin_tls_client_ca_file != Path()
        self._names = frozenset(settings.admin_names)
        self._operators = frozenset(settings.admin_operators)

    @property
    def notice(self) -> str:
        """What is wrong with the token file; empty: nothing."""
        return self._tokens.notice if self._tokens else ""

    def refresh(self) -> None:
        """Follows the token file; reads the disk, so it is not called on the control loop."""
        if self._tokens:
            self._tokens.refresh()

    def check(self, context: Context, method: str) -> str:
        """The caller of the RPC `/service/method` for the audit log: the authenticated identity, then what it declares.

        Raises UnauthenticatedError, PermissionDeniedError.
        """
        metadata = dict(context.invocation_metadata() or ())
        declared = str(metadata.get("x-onnxpress-actor", ""))[:DECLARED_MAX]
        if not self._tokens and not self._certificates:
            return declared or str(context.peer())
        names, role = list(self._certificate_names(context)), Role.OPERATE
        if self._certificates and self._operators and not self._operators.intersection(names):
            role = Role.VIEW
        if self._tokens:
            token = self._token(self._tokens, str(metadata.get("authorization", "")))
            names.append(token.id)
            role = min(role, token.role)
        admitted = [name for name in names if not self._names or name in self._names]
        if not admitted:
            raise PermissionDeniedError(f"{', '.join(names)} is not in admin_names")
        if role < (needed := required_role(method)):
            name, rpc = admitted[0], method.rpartition("/")[2]
            raise PermissionDeniedError(f"{rpc} needs the role {needed.word}, and {name} has the role {role.word}")
        return f"{admitted[0]} on behalf of {declared}" if declared else admitted[0]

    def _certificate_names(self, context: Context) -> Iterator[str]:
        """Certificates were verified against admin_tls_client_ca_file before."""
        if self._certificates:
            told = context.auth_context()
            names = [name.decode(errors="replace") for key in CERTIFICATE_NAMES for name in told.get(key, ())]
            if not any(names):
                raise PermissionDeniedError("the client certificate has neither common nor alternative name")
            yield from filter(None, names)

    def _token(self, tokens: TokenFile, given: str) -> Token:
        if not given:
            raise UnauthenticatedError("admin calls need `authorization: Bearer TOKEN`")
        token = tokens.find(given.removeprefix(SCHEME))
        if token is None or not given.startswith(SCHEME):
            raise UnauthenticatedError("the admin token is not valid")
        return token
