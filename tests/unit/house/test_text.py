"""Text for terminals and logs: no control characters, and different values look different."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus._text import escape, escape_value

# Any str, lone surrogates included, often built from the escapes' own characters.
ANY = st.text(st.characters() | st.sampled_from("\\\\xnu1bU0\x1b\n\r\t\x7f\x9b\u2028\u202e\u2066\udc80'"))


@pytest.mark.parametrize(
    "attack",
    ["\x1b[2J", "\n", "\r", "\0", "\x07", "\x7f", "\x9b2J", "\x85", "\u2028", "\u2029", "\ud800", "\udcff"]
    + [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)],
)
def test_control_sequences_are_escaped(attack: str) -> None:
    for function in (escape, escape_value):
        assert function(f"eth{attack}0").isprintable()
        assert attack not in function(attack)


def test_ordinary_text_is_unchanged() -> None:
    for text in ("eth0", "Ünïcode 中文 🙂", r"foo\x20bar", r"C:\dir", "a b"):
        assert escape(text) == escape_value(text) == text


def test_kept_characters_are_not_escaped() -> None:
    assert escape("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


@given(ANY)
def test_an_escaped_text_is_one_printable_line(text: str) -> None:
    assert escape(text).isprintable()
    assert escape(escape(text)) == escape(text)
    assert escape_value(text).isprintable()


@given(st.sets(ANY, min_size=2))
def test_different_values_stay_different(texts: set[str]) -> None:
    assert len({escape_value(text) for text in texts}) == len(texts)


@given(ANY)
def test_a_value_can_be_read_back(text: str) -> None:
    shown = escape_value(text)
    if shown != text:
        shown = re.sub(r"\\(x..|u....|U........|.)", lambda m: m[0].encode().decode("unicode_escape"), shown)
    assert shown == text
