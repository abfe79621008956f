"""The line of progress of a running test."""

from onnxpress.loadtests.measure.tally import Tally
from onnxpress.loadtests.settings import Settings


def progress_line(settings: Settings, tally: Tally, now: float, end: float) -> str:
    """Phase, rate, p99, errors and time left, ending in a carriage return so that the next one replaces it."""
    latest = tally.latest()
    if latest is None:
        return f"\r\x1b[Kconnecting to {settings.target}"
    phase = next((phase.name for phase in tally.phases if phase.start <= latest.at < phase.end), settings.suite)
    errors = sum(window.errors for window in tally.by_phase)
    left = f"{max(0.0, end - now):.0f} s left" + (" in this step" if settings.suite == "ramp" else "")
    return (
        f"\r\x1b[K{phase}: {latest.answered}/s answered of {latest.due} due, p99 {latest.p99_us / 1000:.1f} ms, "
        f"{latest.refused} refused, {errors} errors in total, {left}"
    )
