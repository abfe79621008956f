"""Line charts as inline SVG, without scripts, fonts or external files."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 270
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 26, 40
TICKS = 6
DECADES_FULL = 2  # a log axis of at most this many decades has ticks at 2 and 5 as well
LABEL_GAP = 70  # pixels that two labels of marks need between them

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line; `style` is a CSS class that gives its colour. Points in the units of the axes, ascending in x."""

    name: str
    style: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Band:
    """A part of the x axis, such as a phase; without `shaded` only its name is drawn."""

    start: float
    end: float
    name: str
    shaded: bool


@dataclass(frozen=True)
class Axis:
    """`label` with its unit. `log`: powers of ten. `ticks`: (position, text), instead of computed ones."""

    label: str
    low: float
    high: float
    log: bool = False
    ticks: Sequence[tuple[float, str]] = ()

    def place(self, value: float) -> float:
        """The position of a value between the ends, 0 to 1, clipped."""
        if self.log:
            low, high, value = math.log10(self.low), math.log10(self.high), math.log10(max(value, self.low))
        else:
            low, high = self.low, self.high
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def marks(self) -> list[tuple[float, str]]:
        if self.ticks:
            return list(self.ticks)
        values = _decades(self.low, self.high) if self.log else _nice(self.low, self.high)
        return [(value, number(value)) for value in values]


def number(value: float) -> str:
    """The text of a tick."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == round(value) else f"{value:.3g}"


def _nice(low: float, high: float) -> list[float]:
    """Round numbers across a linear axis."""
    raw = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) - 1 <= DECADES_FULL else (1,)
    values = [10.0**power * factor for power in powers for factor in factors]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def log_axis(label: str, values: Sequence[float], least: float) -> Axis:
    """A log axis around the values, from whole decade to whole decade; nothing is drawn below `least`."""
    present = [max(value, least) for value in values if value > 0] or [least]
    low, high = 10.0 ** math.floor(math.log10(min(present))), 10.0 ** math.ceil(math.log10(max(present)))
    return Axis(label, low, high if high > low else low * 10, log=True)


def linear_axis(label: str, values: Sequence[float]) -> Axis:
    """From zero to 1.3 times the highest value, which leaves room for the names of phases and events."""
    return Axis(label, 0.0, max(max(values, default=0.0) * 1.3, 1e-3))


def chart(
    name: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    limits: Sequence[tuple[float, str]] = (),
    marks: Sequence[tuple[float, str]] = (),
    bands: Sequence[Band] = (),
) -> str:
    """An SVG element. `limits`: (y, text) of dashed lines; `marks`: (x, text) of events, such as hot swaps."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(value: float) -> float:
        return round(LEFT + x.place(value) * width, 1)

    def at_y(value: float) -> float:
        return round(TOP + (1 - y.place(value)) * height, 1)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">',
        *_bands(bands, at_x, height),
        *_grid(x, y, at_x, at_y),
    ]
    for value, text in limits:
        if y.low <= value <= y.high:
            parts.append(
                f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(value)}" y2="{at_y(value)}"/>'
            )
            parts.append(f'<text class="limit-text" x="{WIDTH - RIGHT}" y="{at_y(value) - 4}">{escape(text)}</text>')
    parts += _marks(marks, at_x, height)
    for line in series:
        places = " ".join(f"{at_x(px)},{at_y(py)}" for px, py in line.points)
        parts.append(
            f'<polyline class="line {line.style}" points="{places}"><title>{escape(line.name)}</title></polyline>'
        )
    return "".join([*parts, "</svg>", _legend(series)])


def _grid(x: Axis, y: Axis, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value, text in y.marks():
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at_y(value)}" y2="{at_y(value)}"/>')
        parts.append(f'<text class="y" x="{LEFT - 6}" y="{at_y(value) + 4}">{escape(text)}</text>')
    for value, text in x.marks():
        parts.append(f'<line class="tick" x1="{at_x(value)}" x2="{at_x(value)}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="x" x="{at_x(value)}" y="{bottom + 17}">{escape(text)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text class="x" x="{(LEFT + right) / 2}" y="{HEIGHT - 6}">{escape(x.label)}</text>')
    parts.append(f'<text class="unit" x="4" y="14">{escape(y.label)}</text>')
    return parts


def _bands(bands: Sequence[Band], at_x: Callable[[float], float], height: int) -> list[str]:
    parts = []
    for band in bands:
        left, right = at_x(band.start), at_x(band.end)
        style = "band" if band.shaded else "band open"
        parts.append(
            f'<rect class="{style}" x="{left}" y="{TOP}" width="{max(right - left, 0):.1f}" height="{height}"/>'
        )
        fits = len(band.name) * 6 < right - left
        text = escape(band.name)
        parts.append(f'<text class="band-text" x="{(left + right) / 2}" y="{TOP + 12}">{text}</text>' if fits else "")
    return parts


def _marks(marks: Sequence[tuple[float, str]], at_x: Callable[[float], float], height: int) -> list[str]:
    parts, last = [], -math.inf
    for value, text in marks:
        place = at_x(value)
        parts.append(
            f'<line class="mark" x1="{place}" x2="{place}" y1="{TOP}" y2="{TOP + height}">'
            f"<title>{escape(text)}</title></line>"
        )
        if place - last >= LABEL_GAP:
            parts.append(f'<text class="mark-text" x="{place + 3}" y="{TOP + 24}">{escape(text)}</text>')
            last = place
    return parts


def _legend(series: Sequence[Series]) -> str:
    keys = "".join(f'<span><i class="key {line.style}"></i>{escape(line.name)}</span>' for line in series)
    return f'<p class="legend">{keys}</p>'
