"""A report as one page of HTML that needs nothing else, as PNG files, and as parts of a Markdown document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from nlbus.bench.plans import SECTIONS
from nlbus.bench.report import draw_bars, draw_curves
from nlbus.bench.report import tables as tabulating
from nlbus.bench.report.drawing import Picture, png, svg
from nlbus.bench.report.tables import Grid
from nlbus.bench.results import Report, ResultsError

STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --ink: #22242a; --soft: #5d626c; --line: #d9dce2;
        --box: #f5f6f8; --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --back: #15171b; --ink: #e4e6ea; --soft: #a0a6b1; --line: #343842;
          --box: #1d2026; --mark: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.2rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.4rem 0; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 0.4rem; padding-top: 0.6rem; border-top: 1px solid var(--line); }
p.soft, figcaption { color: var(--soft); font-size: 0.9rem; }
.caveats { background: var(--box); border-left: 4px solid var(--mark); padding: 0.2rem 1rem; margin: 1rem 0; }
figure { margin: 1.4rem 0; }
figure svg { width: 100%; min-width: 34rem; height: auto; display: block; }
details { margin: 0.8rem 0; }
summary { cursor: pointer; color: var(--mark); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right;
         vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td { white-space: nowrap; }
.word { text-align: left; white-space: normal; min-width: 6rem; }
nav a { margin-right: 1rem; }
a { color: var(--mark); }
"""
ABOUT = (
    "Ratios compare, nanoseconds and rates do not: they are of this machine, in this run.",
    "A/A is the same thing beside itself: in 68 % of the rounds it differs by no more. A smaller difference "
    "between two of them says nothing; nor does a bias as large as that of A/A, whose median stands beside "
    "it. Where A/A is above 25 %, a ratio has one digit and a ~.",
    "Medians and quartiles are of rounds. Each table says how many there were; fewer than three have no "
    "quartiles.",
    "Flat out, a transport that loses looks faster than it is: read each rate beside its delivered / sent, "
    "and beside the fixed rates.",
    "Libraries and programs do not do the same with a message; what each makes of it is said in its note.",
)


def pictures(report: Report) -> Iterator[Picture]:
    """All that this report has figures for."""
    for name in tabulating.sections(report):
        here = [one for one in report.measurements if one.section == name]
        for drawer in (*draw_bars.DRAWERS.get(name, ()), *draw_curves.DRAWERS.get(name, ())):
            yield from drawer(here)


def write(report: Report, folder: Path) -> list[Path]:
    """index.html, and a PNG a picture; the paths written. MissingExtra without matplotlib."""
    drawn = list(pictures(report))
    page_text = page(report, drawn)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "index.html"]
    written[0].write_text(page_text, encoding="utf-8")
    return written + write_pictures(drawn, folder)


def write_pictures(drawn: Iterable[Picture], folder: Path) -> list[Path]:
    """PNG files, named by their pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in drawn:
        path = folder / f"{picture.name}.png"
        path.write_bytes(png(picture))
        written.append(path)
    return written


# -- HTML -------------------------------------------------------------------------------------------


def page(report: Report, drawn: list[Picture]) -> str:
    """One page: no script, nothing fetched. All text of the report is escaped."""
    title = f"nlbus on {report.machine.get('cpu') or 'this machine'}"
    about = {section.name: section.about for section in SECTIONS}
    found = tabulating.sections(report)
    links = "".join(f'<a href="#{escape(name, True)}">{escape(name)}</a>' for name in found)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">nlbus {escape(report.nlbus)}, {escape(report.when)}, '
        f"<code>{escape(report.command)}</code>, {report.seconds:,.0f} s</p>",
        f"<nav>{links}</nav>",
        '<section class="caveats"><p><strong>Before you read a figure</strong></p><ul>',
        *(f"<li>{escape(text)}</li>" for text in (*report.caveats, *ABOUT)),
        "</ul></section>",
        _table(tabulating.machine(report), folded=True),
    ]
    if report.missing:
        parts.append(_table(tabulating.missing(report), folded=False))
    for name in found:
        parts.append(f'<h2 id="{escape(name, True)}">{escape(name.capitalize())}</h2>')
        if name in about:
            parts.append(f'<p class="soft">{escape(about[name])}</p>')
        parts += [_figure(picture) for picture in drawn if picture.section == name]
        parts += [_table(grid, folded=True) for grid in tabulating.section(report, name)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _figure(picture: Picture) -> str:
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>"
    return f'<figure><div class="scroll">{svg(picture)}</div>{caption}</figure>'


def _table(grid: Grid, *, folded: bool) -> str:
    def cell(tag: str, column: int, text: str) -> str:
        word = ' class="word"' if column in grid.words else ""
        return f"<{tag}{word}>{escape(text)}</{tag}>"

    heads = "".join(cell("th", i, text) for i, text in enumerate(grid.heads))
    rows = "".join(
        f"<tr>{''.join(cell('td', i, text) for i, text in enumerate(row))}</tr>" for row in grid.rows
    )
    opened = "" if folded else " open"
    return (
        f'<details{opened}><summary>{escape(grid.caption)}</summary><div class="scroll"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


# -- Markdown ---------------------------------------------------------------------------------------

PART = re.compile(r"(<!-- bench: ([\w ,-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def fill(document: Path, report: Report) -> list[Path]:
    """Write the report's parts between the marks of a Markdown document; the paths written.

    Marks: `<!-- bench: caveats -->`, or machine, missing, `table SECTION`, `pictures SECTION`; each up to
    `<!-- end -->`. What stands outside of them stays. Pictures go to a folder beside the document, with its
    name. ResultsError where there is no mark, or one that nobody knows.
    """
    drawn = list(pictures(report))
    folder = document.with_suffix("")

    def part(found: re.Match[str]) -> str:
        return f"{found[1]}{_part(found[2].split(), report, drawn, folder.name)}\n{found[4]}"

    try:
        text, count = PART.subn(part, document.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{document}: {error.strerror}") from None
    if not count:
        raise ResultsError(f"{document}: no mark such as <!-- bench: caveats --> ... <!-- end -->")
    document.write_text(text, encoding="utf-8")
    return [document, *write_pictures(drawn, folder)]


def _part(words: list[str], report: Report, drawn: list[Picture], folder: str) -> str:
    match words:
        case ["caveats"]:
            return "\n".join(f"- {_inline(text)}" for text in (*report.caveats, *ABOUT))
        case ["machine"]:
            return _markdown(tabulating.machine(report))
        case ["missing"]:
            return _markdown(tabulating.missing(report)) if report.missing else "All were measured."
        case ["table", name]:
            return "\n\n".join(map(_markdown, tabulating.section(report, name)))
        case ["pictures", name]:
            return "\n\n".join(
                f"![{_inline(picture.caption)}]({folder}/{picture.name}.png)\n\n{_inline(picture.caption)}"
                for picture in drawn
                if picture.section == name
            )
    raise ResultsError(f"no such mark: bench: {' '.join(words)}")


def _markdown(grid: Grid) -> str:
    rule = [":---" if i in grid.words else "---:" for i in range(len(grid.heads))]
    return "\n".join(
        "| " + " | ".join(map(_inline, row)) + " |" for row in (grid.heads, tuple(rule), *grid.rows)
    )


def _inline(text: str) -> str:
    """Escaped, so that it is text in a cell or a line."""
    return re.sub(r"([\\`*_<>|\[\]#])", r"\\\1", " ".join(text.split()))
