"""A loss curve as SVG."""

from __future__ import annotations

from typing import List, Sequence, Tuple

Points = Sequence[Tuple[float, float]]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _MARGIN = 720, 400, 64, 48, 24


def loss_curve(training: Points, validation: Points, across: str, up: str) -> str:
    """Two lines over one pair of axes: ``training`` thin, ``validation`` with dots. Points are (x, y)."""
    points = [*training, *validation]
    if not points:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\n'
    right = max(x for x, _ in points) or 1.0
    # what lies above most of the curve, its first steep part, would flatten the rest
    ordered = sorted(y for _, y in points)
    low, high = ordered[0], ordered[min(len(ordered) - 1, len(ordered) * 98 // 100)]
    span = (high - low) or 1.0
    low, high = low - 0.05 * span, high + 0.05 * span

    def place(x: float, y: float) -> Tuple[float, float]:
        share = (min(max(y, low), high) - low) / (high - low)
        return (
            round(_LEFT + (x / right) * (_WIDTH - _LEFT - _MARGIN), 1),
            round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _MARGIN), 1),
        )

    def line(of: Points, colour: str, width: float) -> str:
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in of))
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    marks: List[str] = []
    for step in range(5):
        y = low + (high - low) * step / 4
        _, at = place(0, y)
        marks.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _MARGIN}" y1="{at}" y2="{at}" stroke="#8884"/>')
        marks.append(f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{y:.2f}</text>')
        x = right * step / 4
        marks.append(f'<text x="{place(x, low)[0]}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{_short(x)}</text>')
    dots = [f'<circle cx="{x}" cy="{y}" r="3" fill="#c40"/>' for x, y in (place(*point) for point in validation)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12" fill="#888">',
            f"<title>{up} by {across}</title>",
            *marks,
            f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{across}</text>',
            f'<text x="{_LEFT}" y="14">{up}: training (line), validation (dots)</text>',
            line(training, "#47a", 1),
            line(validation, "#c40", 1.5),
            *dots,
            "</svg>\n",
        ]
    )


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"
