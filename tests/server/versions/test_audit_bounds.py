"""What a caller can put into the audit log when it is refused."""

import pytest

from onnxpress.server.facts import AdminFact
from onnxpress.server.versions.audit_bounds import ACTION_MAX, ACTOR_MAX, MODEL_MAX, REASON_MAX, bounded, one_line


@pytest.mark.parametrize(
    ("text", "longest", "shown"),
    [
        ("churn", 5, "churn"),
        ("größer", 6, "größer"),
        ("churned", 6, "churn…"),
        ("a\nb", 10, r"a\nb"),
        ("\x1b[2J\u202e", 20, r"\x1b[2J\u202e"),
        ("\n" * 6, 6, r"\n\n\…"),
        ("", 5, ""),
    ],
)
def test_one_line(text: str, longest: int, shown: str) -> None:
    """Control characters and those that turn text around are escaped; what is too long ends in an ellipsis."""
    assert one_line(text, longest) == shown


def test_every_text_of_a_change_is_bounded() -> None:
    """Nothing of 16 MiB, which a request may have, gets into a record."""
    large = "\n" * (16 << 20)
    kept = bounded(AdminFact(large, large, large, 1, 2, 3, "ab", large))
    lengths = [len(text) for text in (kept.actor, kept.action, kept.model, kept.reason)]
    assert lengths == [ACTOR_MAX, ACTION_MAX, MODEL_MAX, REASON_MAX]
    assert (kept.from_version, kept.to_version, kept.epoch, kept.digest) == (1, 2, 3, "ab")
