"""What `convert` reports while it works: one `Step` at each stage, and after each block of rows while proving."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """The state of one stage of a conversion, or of one generator of the proving stage."""

    stage: str  # reading, compiling or proving
    description: str  # text for display
    generator: str = ""  # the letter of the generator whose rows are being compared (see docs/conversion.md)
    rows_done: int = 0  # of `rows_planned`: evaluated so far, those that the original refuses included
    rows_planned: int = 0
    rows_compared: int = 0  # over all of this generator's plans
    rows_outside: int = 0  # of those, beyond their tolerance
    seconds: float = 0.0  # since this generator began
    finished: bool = False  # this generator ends here, out of rows or out of time


Progress = Callable[[Step], None]


def silent(_: Step) -> None:
    """The progress callback that reports nothing."""
