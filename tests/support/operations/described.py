"""The part of docs/state.md that the schemas' manners are: `python -m tests.support.operations.described`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nlbus.sources import find

PAGE = Path("docs/state.md")
BEGIN = "<!-- of the schemas -->\n"
END = "<!-- end -->\n"
SOURCES = ("route", "conntrack", "uevent", "xfrm", "nftables")


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns)


def _lines() -> Iterator[str]:
    for source in SOURCES:
        for schema in find(source).schemas:
            manners = schema.manners
            facts = [
                f"looked at after events of {doubt.of}"
                f"{'' if len(doubt.ops) == 3 else ' (' + ', '.join(doubt.ops) + ')'}: {doubt.why}"
                for doubt in manners.doubts
            ]
            if manners.slot and tuple(manners.slot) != tuple(schema.key):
                facts.append(f"a replacement stands for all rows with the same {_names(manners.slot)}")
            for partial in manners.partial:
                lacking = f"a message without `{partial.lacks}`" if partial.lacks else "a message"
                facts.append(f"{lacking} may be partial: columns that it lacks keep their value")
            if manners.silent:
                facts.append(f"changed without a message, in part: {_names(manners.silent)}")
            if manners.unheard:
                facts.append(f"unheard without an audit: {manners.unheard}")
            if manners.volatile:
                facts.append(f"not compared, as they change by themselves: {_names(manners.volatile)}")
            if facts and schema.key:
                yield f"**{source} {schema.name}**\n\n" + "".join(f"- {fact}\n" for fact in facts)


def described() -> str:
    """The part, as Markdown."""
    return "\n".join(_lines())


def main() -> None:
    """Write it into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + described() + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
