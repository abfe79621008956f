"""Bounds of what callers that are refused can put into the audit log. Pure."""

from dataclasses import replace

from onnxpress.server.facts import AdminFact

# Characters.
MODEL_MAX = 255
ACTOR_MAX = 512
ACTION_MAX = 64
REASON_MAX = 1024
MESSAGE_MAX = 1024
CUT = "…"


def bounded(fact: AdminFact) -> AdminFact:
    """The change as it is recorded when it is refused: nobody has checked its texts."""
    return replace(
        fact,
        actor=one_line(fact.actor, ACTOR_MAX),
        action=one_line(fact.action, ACTION_MAX),
        model=one_line(fact.model, MODEL_MAX),
        reason=one_line(fact.reason, REASON_MAX),
    )


def one_line(text: str, longest: int) -> str:
    """At most `longest` characters of the text, on one line: what is not printable is escaped."""
    kept = text[:longest]
    shown = kept if kept.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in kept)
    return shown if len(text) <= longest and len(shown) <= longest else shown[: longest - len(CUT)] + CUT
