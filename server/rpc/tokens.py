"""The file of bearer tokens of the admin port: ids, roles, and tokens or their digests; followed while it changes."""

import hashlib
import hmac
import logging
import os
import re
import stat
import threading
from pathlib import Path
from typing import NamedTuple

from onnxpress.server.errors import UsageError
from onnxpress.server.rpc.roles import ROLES, Role

# Seconds between looks at the file, and so the longest time that a withdrawn token is still accepted.
POLL_S = 1.0
# The id of a token that stands alone on its line.
UNNAMED = "token"
BYTES_MAX = 1 << 20
DIGEST_MARK = "sha256:"
DIGEST = re.compile(r"(?:(?P<id>.*):)?sha256:(?P<digest>[0-9a-f]{64})")
FORMS = "`id role token` or `id role sha256:DIGEST`, role view or operate; or `id:token`, or one token alone"

logger = logging.getLogger(__name__)


class Token(NamedTuple):
    """One line of the file. `digest`: SHA-256 of the token, 32 bytes; `plain`: the file holds the token itself."""

    id: str
    role: Role
    digest: bytes
    plain: bool


class _DamagedError(Exception):
    """What is wrong with a token file. Never quotes it: in a wrong line a secret can stand anywhere."""


class TokenFile:
    """The valid tokens. `refresh` is called by one thread at a time; everything else by any.

    `_tokens` is replaced as a whole.
    """

    def __init__(self, path: Path) -> None:
        """Raises UsageError if the file cannot be read or is not a token file."""
        self._path = path
        self._lock = threading.Lock()
        self.notice = ""  # why the file is not in force, for `status` and /readyz; empty: it is
        try:
            raw, mode = _read(path)
            self._tokens = parse(raw)
        except _DamagedError as damage:
            raise UsageError(f"admin_token_file {path}: {damage}") from damage
        # A pipe, as from `<(…)` in a shell, gives its tokens once.
        self._follows = stat.S_ISREG(mode)
        self._seen: bytes | None = hashlib.sha256(raw).digest()
        self._report(mode)

    def find(self, given: str) -> Token | None:
        """The token that a caller gives.

        Digests are compared, all of them and each in constant time, so that the time tells neither how much of a token
        was right, nor its length, nor its place in the file.
        """
        digest = hashlib.sha256(given.encode(errors="replace")).digest()
        found = None
        for token in self._tokens:
            if hmac.compare_digest(digest, token.digest):
                found = token
        return found

    def refresh(self) -> None:
        """Adopts the file's content if it has changed; one that is damaged leaves the last good tokens valid.

        Reads it all, which is little, rather than compare times: the content is right on every file system, and
        through the symbolic links by which Kubernetes replaces a secret.
        """
        if not self._follows:
            return
        with self._lock:
            raw: bytes | None = None
            try:
                raw, mode = _read(self._path, following=True)
                seen: bytes | None = hashlib.sha256(raw).digest()
                if seen == self._seen:
                    return
                tokens = parse(raw)
            except _DamagedError as damage:
                notice = f"admin_token_file: {damage}; the tokens that were read before stay valid"
                if notice != self.notice:
                    logger.error("%s (%s)", notice, self._path)  # noqa: TRY400 -- the reason says it all
                self.notice = notice
                # Of a file that could not be read nothing was seen, so that the former content counts as a change.
                self._seen = None if raw is None else hashlib.sha256(raw).digest()
                return
            self._tokens, self._seen, self.notice = tokens, seen, ""
            self._report(mode)

    def _report(self, mode: int) -> None:
        told = ", ".join(f"{token.id} ({token.role.word})" for token in self._tokens)
        logger.info("admin_token_file: %d tokens: %s", len(self._tokens), told)
        if self._follows and mode & stat.S_IROTH and any(token.plain for token in self._tokens):
            logger.warning("admin_token_file %s is readable by every user of the machine: chmod o= it", self._path)


def parse(raw: bytes) -> tuple[Token, ...]:
    """The tokens of a file's content. Raises _DamagedError, which names the line."""
    try:
        lines = [line.strip() for line in raw.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise _DamagedError("it is not UTF-8 text") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not numbered:
        raise _DamagedError("it holds no token")
    lines_of: dict[str, int] = {}
    tokens = []
    for number, line in numbered:
        token = _parse_line(line, number, alone=len(numbered) == 1)
        if token.id in lines_of:
            raise _DamagedError(f"lines {lines_of[token.id]} and {number} have the same id")
        lines_of[token.id] = number
        tokens.append(token)
    return tuple(tokens)


def _parse_line(line: str, number: int, *, alone: bool) -> Token:
    words = line.split()
    if len(words) > 2 and words[1] != ":":
        if len(words) != 3:
            raise _DamagedError(f"line {number} must be {FORMS}")
        name, role, secret = words
        if role not in ROLES:
            raise _DamagedError(f"line {number}: the role, its second word, must be {' or '.join(ROLES)}")
        return Token(name, ROLES[role], *_digest(secret, number))
    # The forms without a role, whose callers may do everything.
    if match := DIGEST.fullmatch(line):
        name = UNNAMED if match["id"] is None else match["id"].strip()
        secret = DIGEST_MARK + match["digest"]
        if not name:
            raise _DamagedError(f"line {number}: the id is missing")
    else:
        before, colon, secret = line.rpartition(":")
        name, secret = before.strip() if colon else UNNAMED, secret.strip()
        # A mistyped digest must not become a token.
        if before.strip().split(":")[-1] == DIGEST_MARK[:-1]:
            secret = DIGEST_MARK
        # A blank in a token is right only in a file of one token alone; else it is a line that lacks its role.
        if not name or not secret or (" " in secret and not (alone and not colon)):
            raise _DamagedError(f"line {number} must be {FORMS}")
    return Token(name, Role.OPERATE, *_digest(secret, number))


def _digest(secret: str, number: int) -> tuple[bytes, bool]:
    """Digest of the token, and whether the file holds the token itself."""
    if secret.startswith(DIGEST_MARK):
        if not DIGEST.fullmatch(secret):
            raise _DamagedError(f"line {number}: `{DIGEST_MARK}` must be followed by 64 lower-case hexadecimal digits")
        return bytes.fromhex(secret.removeprefix(DIGEST_MARK)), False
    if not (secret.isascii() and secret.isprintable()):
        raise _DamagedError(f"line {number}: a token must be printable ASCII")
    return hashlib.sha256(secret.encode()).digest(), True


def _read(path: Path, *, following: bool = False) -> tuple[bytes, int]:
    """Content and mode. With `following` it must be a regular file, since opening a pipe could block for ever."""
    try:
        if following and not path.is_file():
            raise _DamagedError("it is not there, or not a regular file")
        with path.open("rb") as file:
            raw, mode = file.read(BYTES_MAX + 1), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise _DamagedError(f"it cannot be read: {error.strerror}") from error
    if len(raw) > BYTES_MAX:
        raise _DamagedError(f"it is larger than {BYTES_MAX} bytes")
    return raw, mode
