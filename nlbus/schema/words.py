"""Words: what people call a column, beside its name.

A column has the kernel's name. Text output, `ip`, `conntrack`, `ss` and `ps` have words of their own, such as
dev and proto; `Schema.words` lists them per table, and conditions understand them. A name in other letters,
such as SUBSYSTEM, means the same column as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from nlbus.errors import UnknownColumn
from nlbus.schema.types import Column

Words = Mapping[str, str | Sequence[str]]  # word to the columns that it may stand for

NO_WORDS: Words = {}
SHORT = 20  # names in an error


def with_words(columns: Iterable[Column], words: Words) -> list[Column]:
    """The columns with their words; an index of an interface has the key of its name as one, too."""
    columns = list(columns)
    names = {column.name for column in columns}
    of: dict[str, list[str]] = {}
    for word, meant in words.items():
        for name in (meant,) if isinstance(meant, str) else meant:
            of.setdefault(name, []).append(word)
    for column in columns:
        if column.display == "interface" and (word := name_key(column.name)) not in names:
            of.setdefault(column.name, []).append(word)
    return [
        replace(column, words=tuple(of[column.name])) if column.name in of else column for column in columns
    ]


def name_key(column: str) -> str:
    """The key of an interface's name beside its index: ifname for ifindex, oifname for oif, master_name."""
    short = column.removesuffix("index")
    return f"{short}name" if short.endswith("if") else f"{short}_name"


def meant(name: str, columns: Iterable[Column]) -> list[Column]:
    """The columns that this name or word stands for; none if there is no such column.

    Of several columns, that row's value counts which the first of them has.
    """
    columns = list(columns)
    found = [column for column in columns if column.name == name]
    found += [column for column in columns if name in column.words]
    if found:
        return list(dict.fromkeys(found))
    folded = name.casefold()
    return [
        column
        for column in columns
        if column.name.casefold() == folded or folded in map(str.casefold, column.words)
    ]


def known_words(columns: Iterable[Column]) -> list[str]:
    """The names of these columns, then all their words."""
    columns = list(columns)
    words = (word for column in columns for word in column.words)
    return list(dict.fromkeys([*(column.name for column in columns), *words]))


def suggestions(name: str, columns: Collection[Column]) -> list[str]:
    """What the unknown name of a column may have meant, the likeliest first."""
    same = [column.name for column in meant(name, columns) if column.name != name]
    words = known_words(columns)
    found = same or get_close_matches(name, words, 3) or get_close_matches(name.casefold(), words, 3)
    return list(dict.fromkeys(found))


def unknown_column(name: str, columns: Collection[Column], table: str = "") -> UnknownColumn:
    """The error for the name of a column that these are not, in one or two lines however many there are."""
    close = suggestions(name, columns)
    names = [column.name for column in columns]
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif len(names) <= SHORT:
        hint = f"there are {', '.join(names)}"
    else:
        hint = f"there are {len(names)}, such as {', '.join(names[:SHORT])}"
        hint += f"; `nlbus sources SOURCE {table or 'TABLE'}` lists them"
    return UnknownColumn(f"no column {name!r}{f' in table {table}' if table else ''}: {hint}")
