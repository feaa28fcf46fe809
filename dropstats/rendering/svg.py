"""Pictures as SVG, drawn with presentation attributes alone: no script, no style, nothing from elsewhere."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats.rendering.look import EXACT as LAW
from dropstats.rendering.look import SIMULATED as SEEN

# Of a correlation: above 0 vermilion, below 0 purple.
_BELOW = "#7B3294"
_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 10, 44
# At most so many stems, and masks and neurons in the image of the first masks.
_STEMS, _ROWS, _COLUMNS = 400, 64, 128
_SHADES = 6  # of a correlation

Floats = NDArray[np.float64]


class Picture(NamedTuple):
    """A drawing, its title and how it is read."""

    svg: str
    title: str
    text: str


@dataclass(frozen=True)
class Frame:
    """The axes of a drawing: data limits, and the pixels that they fall on."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int = _WIDTH
    height: int = _HEIGHT

    def x(self, value: Any) -> Any:
        """Return the horizontal place of a value."""
        return _LEFT + (value - self.x0) / (self.x1 - self.x0 or 1) * (self.width - _LEFT - _RIGHT)

    def y(self, value: Any) -> Any:
        """Return the vertical place of a value; downwards, as SVG counts."""
        return self.height - _BOTTOM - (value - self.y0) / (self.y1 - self.y0 or 1) * (self.height - _TOP - _BOTTOM)

    def axes(self, across: str, up: str) -> str:
        """Return both axes with their ticks and labels."""
        foot, end, parts = self.height - _BOTTOM, self.width - _RIGHT, []
        for tick in ticks(min(self.y0, self.y1), max(self.y0, self.y1), 4):
            at = short(self.y(tick))
            parts.append(f'<path d="M{_LEFT} {at}H{end}" stroke="currentColor" stroke-opacity="0.15"/>')
            parts.append(_label(_LEFT - 6, self.y(tick) + 4, said(tick), "end"))
        for tick in ticks(self.x0, self.x1, 5):
            parts.append(f'<path d="M{short(self.x(tick))} {foot}v4" stroke="currentColor" stroke-opacity="0.5"/>')
            parts.append(_label(self.x(tick), foot + 17, said(tick)))
        parts.append(f'<path d="M{_LEFT} {foot}H{end}" stroke="currentColor" stroke-opacity="0.5"/>')
        middle = (_TOP + foot) / 2
        parts.append(_label((_LEFT + end) / 2, self.height - 8, across))
        parts.append(_label(14, middle, up, turn=f' transform="rotate(-90 14 {short(middle)})"'))
        return "".join(parts)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers inside an interval, about so many.

    >>> ticks(0.0, 1.0, 4), ticks(266, 355, 5)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [280.0, 300.0, 320.0, 340.0])
    """
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min((m for m in (1, 2, 5, 10) if m * power >= 0.7 * raw), default=10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def short(value: float) -> str:
    """Return a place in pixels to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def said(value: float) -> str:
    """Return a tick as it is written."""
    return (f"{value:,.0f}" if value == int(value) and abs(value) < 1e7 else f"{value:.4g}").replace("-", "−")


def drawing(body: str, title: str, text: str, name: str, width: int = _WIDTH, height: int = _HEIGHT) -> str:
    """Return an SVG element that a screen reader can read; `name` is its own in the page."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-labelledby="{name}-title {name}-text" font-family="system-ui, sans-serif" font-size="13" '
        f'fill="none"><title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(text)}</desc>'
        f"{body}</svg>"
    )


def _label(x: float, y: float, text: str, anchor: str = "middle", turn: str = "") -> str:
    place = f'x="{short(x)}" y="{short(y)}" text-anchor="{anchor}"'
    return f'<text {place} fill="currentColor"{turn}>{escape(text)}</text>'


def line(x: Iterable[float], y: Iterable[float]) -> str:
    """Return the path through points, those left out that lie between equal ones."""
    return "M" + "L".join(f"{short(a)} {short(b)}" for a, b in _thinned(list(zip(x, y, strict=True))))


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    flat = [k for k in range(1, len(points) - 1) if points[k - 1][1] == points[k][1] == points[k + 1][1]]
    left_out = set(flat)
    return [point for k, point in enumerate(points) if k not in left_out]


def stroke(path: str, kind: str, colour: str, width: float = 2, more: str = "") -> str:
    """Return a line of a kind ("law", "seen"), which a style sheet may colour otherwise."""
    return f'<path class="{kind}-line" d="{path}" stroke="{colour}" stroke-width="{width:g}"{more}/>'


def filled(path: str, kind: str, colour: str, opacity: float = 1) -> str:
    """Return a filled area of a kind."""
    return f'<path class="{kind}-area" d="{path}" fill="{colour}" fill-opacity="{opacity:g}"/>'


def bars(frame: Frame, edges: Floats, heights: Floats) -> str:
    """Return the path of the bars of a histogram."""
    foot, parts = frame.y(max(frame.y0, 0.0)), []
    for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
        if height:
            x = frame.x(left)
            wide = max(frame.x(right) - x - 0.5, 0.5)
            parts.append(f"M{short(x)} {short(foot)}V{short(frame.y(height))}h{short(wide)}V{short(foot)}z")
    return "".join(parts)


def counts(panel: Mapping[str, Any], name: str) -> Picture:
    """Draw how many neurons the masks drop, and the law."""
    edges, masks = np.asarray(panel["edges"], np.float64), np.asarray(panel["masks"], np.float64)
    law = np.asarray(panel.get("expected", []), np.float64)
    frame = Frame(edges[0], edges[-1], 0, 1.05 * max(masks.max(initial=1), law.max(initial=0)))
    body = frame.axes("dropped neurons in a mask", "number of masks") + filled(
        bars(frame, edges, masks), "seen", SEEN, 0.75
    )
    if law.size:
        body += stroke(line(frame.x(np.asarray(panel["counts"])), frame.y(law)), "law", LAW, 2.5)
    else:
        body += stroke(f"M{short(frame.x(panel['mean']))} {_TOP}V{frame.height - _BOTTOM}", "law", LAW, 2.5)
    text = f"The masks drop {panel['least']:,} to {panel['most']:,} neurons; the law's mean is {panel['mean']:,.6g}."
    title = "Dropped neurons per mask"
    shown = "Orange bars: the masks. Blue line: the law" + ("" if law.size else "'s mean")
    return Picture(drawing(body, title, text, name), title, f"{shown}. {text}")


def positions(panel: Mapping[str, Any], name: str) -> Picture:
    """Draw the drop rate by position with the band that holds all neurons of a correct layer 99% of the time."""
    where, observed, declared, width = (np.asarray(panel[key], np.float64) for key in
                                        ("where", "observed", "declared", "width"))  # fmt: skip
    low, high = np.maximum(declared - width, 0), np.minimum(declared + width, 1)
    ends = min(low.min(), observed.min()), max(high.max(), observed.max())
    room = 0.06 * (ends[1] - ends[0]) or 0.1
    last = max(panel["n"] - 1, 1)
    frame = Frame(-0.02 * last, 1.02 * last, max(ends[0] - room, -0.02), min(ends[1] + room, 1.02))
    x = frame.x(where)
    area = line(np.concatenate([x, x[::-1]]), np.concatenate([frame.y(high), frame.y(low)[::-1]])) + "z"
    dots = "".join(f"M{short(a)} {short(b)}h0" for a, b in zip(x, frame.y(observed), strict=True))
    body = frame.axes("position of the neuron", "drop rate") + filled(area, "law", LAW, 0.2)
    body += stroke(dots, "seen", SEEN, 5 if panel["n"] <= 200 else 2.5, ' stroke-linecap="round"')
    body += stroke(line(x, frame.y(declared)), "law", LAW, 2)
    outside = int(np.count_nonzero((observed < low) | (observed > high)))
    text = f"{outside:,} of the {where.size:,} neurons shown lie outside the 99% simultaneous band, which contains all "
    text += "of them with probability 0.99 if the implementation is correct."
    title = "Drop rate of each neuron"
    shown = "Orange dots: the neurons. Blue line and band: the law"
    return Picture(drawing(body, title, text, name), title, f"{shown}. {text}")


def masks(panel: Mapping[str, Any], name: str) -> Picture:
    """Draw the first masks, a dash where neurons are dropped."""
    packed = panel["packed"]
    rows = np.array([list(bytes.fromhex(row)) for row in packed[:_ROWS]], np.uint8) if len(packed) else packed
    dropped = np.unpackbits(rows, axis=1, count=min(panel["shown"], _COLUMNS))
    calls, neurons = dropped.shape
    # a line of text a mask, the first on top
    frame = Frame(0, neurons, calls, 0)
    across, down = (frame.width - _LEFT - _RIGHT) / neurons, (frame.height - _TOP - _BOTTOM) / calls
    path = "".join(_dashes(row, k) for k, row in enumerate(dropped))
    place = f'transform="translate({_LEFT} {_TOP}) scale({across:.6g} {down:.6g})" shape-rendering="crispEdges"'
    body = f'<path class="seen-line" d="{path}" stroke="{SEEN}" stroke-width="1" {place}/>'
    edge = f'x="{_LEFT}" y="{_TOP}" width="{frame.width - _LEFT - _RIGHT}" height="{frame.height - _TOP - _BOTTOM}"'
    body = frame.axes("neuron", "call") + body
    body += f'<rect {edge} stroke="currentColor" stroke-opacity="0.5"/>'
    title = "The first masks"
    text = f"The first {calls:,} masks, of each the first {neurons:,} of {panel['n']:,} neurons."
    return Picture(drawing(body, title, text, name), title, f"Orange where a neuron is dropped. {text}")


def _dashes(row: NDArray[np.uint8], call: int) -> str:
    """Return a row of dashes, one for each run of dropped neurons."""
    turns = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
    if not turns.size:
        return ""
    parts, at = [f"M{turns[0]} {call}.5"], int(turns[0])
    for start, stop in turns.reshape(-1, 2).tolist():
        parts.append((f"m{start - at} 0" if start > at else "") + f"h{stop - start}")
        at = stop
    return "".join(parts)


def lags(panel: Mapping[str, Any], name: str) -> Picture | None:
    """Draw the correlation of masks k calls apart with the band that holds it at every lag; None where not known."""
    if not panel:
        return None
    title = "Correlation of masks at different calls"
    return _stems(panel, name, title, "lag in calls")


def apart(panel: Mapping[str, Any], name: str) -> Picture:
    """Draw how the masks of two streams correlate some calls apart."""
    first, second = panel["names"]
    title = f"Correlation of {first} and {second}"
    return _stems(panel, name, title, f"lag in calls ({second} after {first})")


def _stems(panel: Mapping[str, Any], name: str, title: str, across: str) -> Picture:
    lag, value, band = (np.asarray(panel[key], np.float64) for key in ("lag", "correlation", "band"))
    reach = 1.2 * max(band.max(), np.abs(value).max())
    frame = Frame(min(lag[0], 0) - 0.5, lag[-1] + 0.5, -reach, reach)
    edge = np.concatenate([band, -band[::-1]])
    area = line(frame.x(np.concatenate([lag, lag[::-1]])), frame.y(edge)) + "z"
    chosen = np.sort(np.argsort(-np.abs(value) / np.maximum(band, 1e-300), kind="stable")[:_STEMS])
    zero = short(frame.y(0.0))
    ends = zip(frame.x(lag[chosen]), frame.y(value[chosen]), strict=True)
    path = "".join(f"M{short(x)} {zero}V{short(y)}" for x, y in ends if short(y) != zero)
    body = frame.axes(across, "correlation") + filled(area, "law", LAW, 0.2)
    body += stroke(path, "seen", SEEN, 1.2 if chosen.size > 100 else 3)
    worst = int(np.argmax(np.abs(value) / np.maximum(band, 1e-300)))
    outside = int(np.count_nonzero(np.abs(value) > band))
    text = f"{outside:,} of {lag.size:,} correlations lie outside the 99% simultaneous band; the most unusual one is "
    text += f"{value[worst]:.3g}, at lag {abs(lag[worst]):,.0f}."
    shown = "Orange: the correlation of masks. Blue band: the law"
    return Picture(drawing(body, title, text, name), title, f"{shown}. {text}")


def matrix(panel: Mapping[str, Any], name: str) -> Picture:
    """Draw how the masks of each stream correlate with those of each other."""
    values = np.asarray(panel["correlation"], np.float64)
    count, names = len(values), panel["names"]
    size = (_HEIGHT - _TOP - _BOTTOM) / count
    values = values - np.diag(np.diag(values))
    shade = np.where(np.abs(values) < 0.02, 0, np.ceil(np.abs(values) * _SHADES)).astype(int)
    body = ""
    for sign, colour, kind in ((1, SEEN, "seen"), (-1, _BELOW, "below")):
        for level in range(1, _SHADES + 1):
            cells = np.argwhere((shade == level) & (np.sign(values) == sign))
            path = "".join(f"M{column} {row}h1v1h-1z" for row, column in cells.tolist())
            body += filled(path, kind, colour, level / _SHADES) if path else ""
    own = "".join(f"M{k} {k}h1v1h-1z" for k in range(count))
    body += filled(own, "own", "currentColor", 0.15)
    body = f'<g transform="translate({_LEFT + 40} {_TOP}) scale({size:.6g})">{body}</g>'
    side = size * count
    edge = f'x="{_LEFT + 40}" y="{_TOP}" width="{short(side)}" height="{short(side)}"'
    body += f'<rect {edge} stroke="currentColor" stroke-opacity="0.5"/>'
    for k in range(0, count, max(1, -(-count // 10))):
        shown = names[k] if len(names[k]) <= 14 else f"{names[k][:13]}…"
        body += _label(_LEFT + 34, _TOP + (k + 0.5) * size + 4, shown, "end")
    a, b = np.unravel_index(int(np.argmax(np.abs(values))), values.shape)
    text = f"Of {count:,} streams, {names[min(a, b)]} and {names[max(a, b)]} correlate most: {values[a, b]:.3g}."
    title = "Correlation between streams at the same call"
    return Picture(
        drawing(body, title, text, name),
        title,
        f"Orange: positive correlation, purple: negative, stronger colour: larger. Grey: the stream itself. {text}",
    )


def small(panel: Mapping[str, Any], name: str, title: str, width: int = 160, height: int = 48) -> str:
    """Draw a histogram and its law without axes, small enough for a line of a table."""
    edges, seen = (np.asarray(panel.get(key, []), np.float64) for key in ("edges", "masks"))
    law, at = (np.asarray(panel.get(key, []), np.float64) for key in ("expected", "counts"))
    x = edges if edges.size else at
    top = 1.05 * max(seen.max(initial=0), law.max(initial=0)) or 1.0
    span = x[-1] - x[0] or 1.0

    def across(value: Any) -> Any:
        return 2 + (value - x[0]) / span * (width - 4)

    def up(value: Any) -> Any:
        return height - 2 - value / top * (height - 4)

    body = f'<path d="M2 {height - 2}H{width - 2}" stroke="currentColor" stroke-opacity="0.4"/>'
    if seen.size:
        heights = np.repeat(up(seen), 2)
        path = line(across(np.concatenate([edges[:1], np.repeat(edges[1:-1], 2), edges[-1:]])), heights)
        body += filled(f"{path}V{height - 2}H2z", "seen", SEEN, 0.75)
    if law.size:
        body += stroke(line(across(at), up(law)), "law", LAW, 1.5)
    return drawing(body, title, title, name, width, height)


# The panels of each kind of report, in the order of the page.
PANELS: Mapping[str, Callable[[Mapping[str, Any], str], Picture | None]] = {
    "counts": counts,
    "positions": positions,
    "lags": lags,
    "masks": masks,
    "matrix": matrix,
    "apart": apart,
}


def panels(pictures: Mapping[str, Any], name: str) -> Sequence[Picture]:
    """Return the drawings of a report's small arrays."""
    drawn = (draw(pictures[kind], f"{name}-{kind}") for kind, draw in PANELS.items() if kind in pictures)
    return [one for one in drawn if one is not None]
