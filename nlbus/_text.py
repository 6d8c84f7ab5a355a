"""Text that came from elsewhere, made safe for a terminal, a log or a line of output."""

import re
from collections.abc import Iterable, Sequence

_SURROGATE = re.compile("[\ud800-\udfff]")
# What `as_utf8` may write.
_READS_AS_BYTES = re.compile(r"\\(?:\\|ud[89a-f][0-9a-f]{2})")
# What `escape` may write, and a backslash that `escape_value` has doubled.
_ESCAPES = r"\\(?:[\\tnr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4})"


def escape(text: str, keep: str = "") -> str:
    r"""`text` with every character written out that is not printable, as in `\x1b`, `\n`, `\u202e`.

    That is every control character (C0, DEL, C1), line separator, bidirectional or other format character,
    lone surrogate and unassigned code point, except those in `keep`. What this returns is one line, cannot
    move a cursor, and stays as it is when it is escaped again.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _written_out(c) for c in text)


def escape_value(text: str) -> str:
    r"""`escape` for one value: different texts stay different.

    So backslashes are doubled where the text holds something to escape, or already reads as if escaped.
    """
    if text.isprintable() and not ("\\" in text and _reads_as_escaped(text)):
        return text
    return escape(text.replace("\\", r"\\"))


def is_utf8(text: str) -> bool:
    """Whether it can be encoded: a lone surrogate cannot, which stands for a byte that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_bytes(text: str) -> bool:
    """Whether `os.fsencode` makes bytes of it, for any name that the kernel can have."""
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def as_utf8(text: str) -> str:
    r"""The text for readers that want UTF-8, such as those of JSON and Arrow: almost always the same text.

    A byte that is not UTF-8, which is a lone surrogate in `text`, is written out as in `\udcff`. Different
    texts stay different: backslashes are doubled where there is such a byte, or where a text reads as if.
    """
    if is_utf8(text) and not ("\\" in text and _READS_AS_BYTES.search(text)):
        return text
    return _SURROGATE.sub(lambda match: _written_out(match[0]), text.replace("\\", r"\\"))


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _reads_as_escaped(text: str) -> bool:
    found = (match[0] for match in re.finditer(_ESCAPES, text))
    return any(each == r"\\" or not each.encode().decode("unicode_escape").isprintable() for each in found)


def html_text(text: str) -> str:
    """`escape`, and safe within HTML."""
    from html import escape as escape_html  # noqa: PLC0415 - it loads the names of all entities

    return escape_html(escape(text))


def html_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table of HTML; texts are escaped."""
    rows = [("th", head), *(("td", cells) for cells in body)]
    lines = ("".join(f"<{tag}>{html_text(cell)}</{tag}>" for cell in cells) for tag, cells in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
