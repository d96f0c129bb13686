"""How a figure is written, and many of them."""

import math
import statistics
from collections.abc import Sequence


def figure(values: Sequence[float], digits: int = 0, unit: str = "") -> str:
    """The median, and in parentheses the least and the most."""
    least, most = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return f"{statistics.median(values):,.{digits}f}{unit} ({least}..{most})"


def ratio(values: Sequence[float], base: Sequence[float]) -> str:
    """Of the medians."""
    return f"{statistics.median(values) / statistics.median(base):.2f}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table: the first column to the left, the others to the right."""
    texts = [list(map(str, columns)), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
    print(f"\n{title}")
    for number, row in enumerate(texts):
        first, others = row[0].ljust(widths[0]), (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join([first, *list(others)[1:]]).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))
