"""The token file: its forms, what is wrong with a damaged one, and how a changed one is followed."""

import hashlib
import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxpress.server.errors import UsageError
from onnxpress.server.rpc.roles import Role
from onnxpress.server.rpc.tokens import BYTES_MAX, TokenFile

LONG = "9f" * 32
DIGEST = hashlib.sha256(b"s1").hexdigest()
VIEW, OPERATE = Role.VIEW, Role.OPERATE


def written(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "tokens"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def found(tokens: TokenFile, given_token: str) -> tuple[str, Role] | None:
    token = tokens.find(given_token)
    return (token.id, token.role) if token else None


@pytest.mark.parametrize(
    ("content", "token", "caller"),
    [
        ("ci operate s1", "s1", ("ci", OPERATE)),
        ("# who\n\n\tci  view\ts1 \r\nana operate s2\n", "s2", ("ana", OPERATE)),
        ("ci view s1\nana operate s2\n", "s1", ("ci", VIEW)),
        (f"ci view sha256:{DIGEST}", "s1", ("ci", VIEW)),
        ("spiffe://x/ci view a:b", "a:b", ("spiffe://x/ci", VIEW)),
        ("#ci view s1\nci view s2", "s2", ("ci", VIEW)),
        ("ci:s1", "s1", ("ci", OPERATE)),
        (" ci : s1 \nana:s2", "s1", ("ci", OPERATE)),
        ("urn:team:ops:s1", "s1", ("urn:team:ops", OPERATE)),
        (f"ci:sha256:{DIGEST}", "s1", ("ci", OPERATE)),
        ("s1\n", "s1", ("token", OPERATE)),
        ("s1\nci view s2", "s1", ("token", OPERATE)),
        ("correct horse\n", "correct horse", ("token", OPERATE)),
        (f"sha256:{DIGEST}", "s1", ("token", OPERATE)),
        (f"ci view {LONG}", LONG, ("ci", VIEW)),
    ],
)
def test_forms(tmp_path: Path, content: str, token: str, caller: tuple[str, Role]) -> None:
    """Lines with a role, and the older ones without; nothing but the token itself is one."""
    tokens = TokenFile(written(tmp_path, content))
    assert found(tokens, token) == caller
    for wrong in (
        "",
        content,
        content.strip(),
        token + "x",
        token[:-1],
        DIGEST,
        f"sha256:{DIGEST}",
        "ci",
        "view",
        "s3",
    ):
        assert wrong == token or found(tokens, wrong) is None, wrong


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it holds no token"),
        ("\n# nothing\n", "it holds no token"),
        (b"ci view \xff\n", "it is not UTF-8 text"),
        ("ci veiw s3cret", "line 1: the role, its second word, must be view or operate"),
        ("a view s1\nci s3cret operate", "line 2: the role"),
        ("ci View s3cret", "line 1: the role"),
        ("ci view s3cret twice", "line 1 must be `id role token`"),
        ("ci view s1\nana s3cret", "line 2 must be `id role token`"),
        ("ci view s1\n\nci operate s3cret", "lines 1 and 3 have the same id"),
        ("s1\ns3cret", "lines 1 and 2 have the same id"),
        ("ci:s1\nci view s3cret", "lines 1 and 2 have the same id"),
        ("ci:", "line 1 must be `id role token`"),
        (":s3cret", "line 1 must be `id role token`"),
        (f":sha256:{DIGEST}", "line 1: the id is missing"),
        ("ci view grün", "line 1: a token must be printable ASCII"),
        ("ci:grün", "line 1: a token must be printable ASCII"),
        ("ci view s3cret\0", "line 1: a token must be printable ASCII"),
        (f"ci view sha256:{DIGEST[:-1]}", "line 1: `sha256:` must be followed by 64 lower-case hexadecimal digits"),
        (f"ci view sha256:{DIGEST.upper()}", "line 1: `sha256:` must be followed by"),
        (f"ci:sha256:{DIGEST[:-1]}", "line 1: `sha256:` must be followed by"),
        (f"sha256:{DIGEST}0", "line 1: `sha256:` must be followed by"),
        (f"sha256: {DIGEST}", "line 1: `sha256:` must be followed by"),
        ("x" * (BYTES_MAX + 1), "it is larger than"),
    ],
)
def test_damaged_files_are_refused_at_the_start(tmp_path: Path, content: str | bytes, message: str) -> None:
    """The message names the line and quotes nothing of it."""
    with pytest.raises(UsageError) as caught:
        TokenFile(written(tmp_path, content))
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    """One clear line."""
    with pytest.raises(UsageError, match=r"admin_token_file .*none: it cannot be read: No such file"):
        TokenFile(tmp_path / "none")
    with pytest.raises(UsageError, match="it cannot be read: Is a directory"):
        TokenFile(tmp_path)


def test_a_damaged_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last good tokens stay valid, the notice says why, and the log says it once; a repaired file is adopted."""
    path = written(tmp_path, "ci operate s1")
    tokens = TokenFile(path)
    for content, message in (
        ("ci operate s2\nci view s3", "lines 1 and 2 have the same id"),
        ("ci all s2", "line 1: the role"),
        ("", "it holds no token"),
    ):
        caplog.clear()
        written(tmp_path, content)
        for _ in range(3):
            tokens.refresh()
            assert message in tokens.notice
        assert found(tokens, "s1") == ("ci", OPERATE)
        assert found(tokens, "s2") is None
        assert [message in record.message for record in caplog.records if record.levelno >= logging.ERROR] == [True]
        assert "s2" not in caplog.text
    assert str(tmp_path) not in tokens.notice
    written(tmp_path, "ci operate s4")
    tokens.refresh()
    assert (tokens.notice, found(tokens, "s1"), found(tokens, "s4")) == ("", None, ("ci", OPERATE))


def test_a_file_that_comes_back_is_in_force_again(tmp_path: Path) -> None:
    """Deleted, or replaced by something that would block, it leaves the tokens; the same content clears the notice."""
    path = written(tmp_path, "ci operate s1")
    tokens = TokenFile(path)
    path.unlink()
    tokens.refresh()
    assert "it is not there" in tokens.notice
    os.mkfifo(path)
    tokens.refresh()
    assert "not a regular file" in tokens.notice
    assert found(tokens, "s1") == ("ci", OPERATE)
    path.unlink()
    written(tmp_path, "ci operate s1")
    tokens.refresh()
    assert tokens.notice == ""


def test_a_damaged_file_that_is_restored_is_in_force_again(tmp_path: Path) -> None:
    """Also to the content that it had before."""
    path = written(tmp_path, "ci operate s1")
    tokens = TokenFile(path)
    for content in ("", "ci operate s1"):
        path.write_text(content)
        tokens.refresh()
    assert tokens.notice == ""


def test_a_secret_of_kubernetes_is_followed(tmp_path: Path) -> None:
    """There the file is a link into a folder that is a link, which is replaced; size and times may stay the same."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        os.utime(written(tmp_path / name, f"ci view {name}"), ns=(1, 1))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "tokens").symlink_to("..data/tokens")
    tokens = TokenFile(tmp_path / "tokens")
    assert found(tokens, "one") == ("ci", VIEW)
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    tokens.refresh()
    assert (found(tokens, "one"), found(tokens, "two")) == (None, ("ci", VIEW))


def test_a_pipe_gives_its_tokens_once(tmp_path: Path) -> None:
    """As from `<(…)` in a shell: it is read at the start and not again."""
    reader, writer = os.pipe()
    os.write(writer, b"ci view s1\n")
    os.close(writer)
    try:
        tokens = TokenFile(Path(f"/dev/fd/{reader}"))
        tokens.refresh()
    finally:
        os.close(reader)
    assert (tokens.notice, found(tokens, "s1")) == ("", ("ci", VIEW))


@pytest.mark.parametrize(
    ("content", "mode", "warned"),
    [
        ("ci view s1", 0o644, True),
        ("ci view s1", 0o640, False),
        ("ci view s1", 0o600, False),
        (f"ci view sha256:{DIGEST}", 0o644, False),
        (f"ci view sha256:{DIGEST}\nana view s2", 0o604, True),
    ],
)
def test_secrets_that_everybody_can_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, mode: int, warned: bool
) -> None:
    """A warning; digests are not secret. The tokens are listed without their secrets."""
    caplog.set_level(logging.INFO)
    path = written(tmp_path, content, mode)
    TokenFile(path)
    assert ("readable by every user" in caplog.text) is warned
    assert "ci (view)" in caplog.text
    assert "s1" not in caplog.text


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.dictionaries(
        WORDS.filter(lambda word: word[0] != "#"),
        st.tuples(
            st.sampled_from(list(Role)), WORDS.filter(lambda word: not word.startswith("sha256:")), st.booleans()
        ),
        min_size=1,
        max_size=8,
    ),
    others=st.lists(st.text(max_size=12), max_size=8),
)
def test_each_token_finds_its_line_and_nothing_else_does(
    tmp_path: Path, lines: dict[str, tuple[Role, str, bool]], others: list[str]
) -> None:
    """Whatever ids and tokens are, plain or as digests; the last line wins where two have the same token."""
    text = ""
    for name, (role, token, plain) in lines.items():
        text += f"{name} {role.word} {token if plain else 'sha256:' + hashlib.sha256(token.encode()).hexdigest()}\n"
    tokens = TokenFile(written(tmp_path, text))
    expected = {token: (name, role) for name, (role, token, _) in lines.items() if name != ":"}
    for given_token in [*expected, *others, *lines]:
        assert found(tokens, given_token) == expected.get(given_token)
