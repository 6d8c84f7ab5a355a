"""Commands that look like scripts of a shell, and run without one."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus.listener.command import Command


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("echo $ACTION", "$ACTION"),
        ('echo "${DEVPATH}"', "${DEVPATH}"),
        ('echo "up: $1"', "$1"),
        ("echo `date`", "`date`"),
        ("echo $(date)", "$(date)"),
        ("echo a | logger", "|"),
        ("true && logger", "&&"),
        ("echo a > log", ">"),
        ("echo a >>log", ">>"),
        ("echo a 2>&1", "2>&1"),
        ("echo a; logger b", ";"),
        ("logger a &", "&"),
        ("ls *.conf", "*.conf"),
        ("~/plug.sh", "~/plug.sh"),
    ],
)
def test_what_a_shell_would_interpret_is_seen(text: str, seen: str) -> None:
    assert Command(text).unexpanded == seen
    assert Command(text, shell=True).unexpanded == ""
    assert Command(shlex.split(text)).unexpanded == ""


@pytest.mark.parametrize(
    "text",
    [
        "./plug.sh --fast",
        "echo '$ACTION'",
        r"echo \$ACTION",
        "curl http://a/?b=c&d=e",
        "sed 's/a*;b|c/d/'",
        'logger "a; b | c > d"',
        "mail root@example.org -s a=b",
    ],
)
def test_other_words_are_not(text: str) -> None:
    assert Command(text).unexpanded == ""


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_quoted_words_never_are(words: list[str]) -> None:
    assert Command(shlex.join(["x", *words])).unexpanded == ""
