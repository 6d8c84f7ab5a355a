"""A report's pictures: what they show, and how each is drawn; SVG for the page, PNG for files."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from nlbus.bench.report.tables import number
from nlbus.bench.results import Measurement
from nlbus.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which are safe for colour-blind readers; nlbus always has the first.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D31", "#7F7F7F")
MARKERS = "osD^vPX*"
INK = "#2b2b2a"  # of text and axes; on the page, the colour of its text
FAINT = "#9a9a98"
WIDTH = 7.2  # inches
DPI = 160
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "hatch.linewidth": 0.6,
}


class Picture(NamedTuple):
    """One picture: the name of its file, what it shows in words, and how to draw it."""

    name: str
    section: str
    caption: str
    draw: Callable[[], Figure]


Drawer = Callable[[list[Measurement]], Iterator[Picture]]  # of a section's measurements


def matplotlib(module: str = "") -> Any:
    """One of its modules, or itself; MissingExtra."""
    try:
        return importlib.import_module(f"matplotlib.{module}" if module else "matplotlib")
    except ImportError:
        raise MissingExtra("drawing needs matplotlib: pip install matplotlib") from None


def figure(height: float) -> Figure:
    """An empty one."""
    made: Figure = matplotlib("figure").Figure(figsize=(WIDTH, height), layout="constrained")
    return made


def logarithmic(axis: Any) -> None:
    """Decades, labelled 10 k and not 10 to the 4; a few numbers between them where there is one decade."""
    ticker = matplotlib("ticker")
    low, high = sorted(axis.get_view_interval())
    span = high / low if low > 0 else 1e9
    if span < 8:
        axis.set_major_locator(ticker.MaxNLocator(4))
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if span < 30 else (1.0,)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def colours(subjects: list[str]) -> dict[str, str]:
    """One for each, the same wherever it is drawn: nlbus first, the others by name."""
    ours = [name for name in subjects if name.startswith("nlbus")]
    order = dict.fromkeys([*sorted(ours, key=len), *sorted(set(subjects) - set(ours))])
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(order)}


def png(picture: Picture) -> bytes:
    """On white."""
    return _drawn(picture, "png", facecolor="white", dpi=DPI)


def svg(picture: Picture) -> str:
    """To stand within a page: no background, ink in the page's colour, names of its own."""
    text = _drawn(picture, "svg", facecolor="none", metadata={"Date": None}).decode()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # A page scales it; its size in points would not fit a phone.
    head, _, rest = text.partition(">")
    kept = [word for word in head.split(" ") if not word.startswith(("width=", "height="))]
    return f'{" ".join(kept)} role="img" aria-label="{_plain(picture.caption)}">{rest}'


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum() or letter in " .,:;/%()-")


def _drawn(picture: Picture, kind: str, **how: Any) -> bytes:
    style: Any = {**STYLE, "svg.hashsalt": picture.name}
    with matplotlib().rc_context(style):
        out = io.BytesIO()
        picture.draw().savefig(out, format=kind, **how)
        return out.getvalue()
