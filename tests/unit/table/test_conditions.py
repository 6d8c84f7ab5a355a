"""Conditions of --where: their meaning, and their errors."""

from typing import Any

import pytest
from click import BadParameter
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Expression, SchemaError
from nlbus.cli.shared.options import condition
from nlbus.table.conditions import parse
from nlbus.table.values import MAPPED
from tests.support.tables import address, binary, column, table_of, text

COLUMNS = [
    column("mtu"),
    text("ifname"),
    column("state", "u1", enum={0: "down", 1: "up"}),
    column("flags", flags={1: "up", 2: "broadcast", 4: "lower_up"}),
    address("dst"),
    binary("lladdr", display="mac"),
    column("delta", "i4"),
    column("fast", "?"),
    column("load", "f8"),
]
ROWS: list[list[Any]] = [
    [1500, "eth0", 1, 3, MAPPED + bytes([10, 0, 0, 1]), b"\2\0\0\0\0\1", -5, True, 0.5],
    [9000, "eth1", 0, 2, MAPPED + bytes([10, 9, 0, 1]), b"\2\0\0\0\0\2", 7, False, 1.5],
    [65536, "lo", 1, 5, bytes(15) + b"\1", b"", 0, True, 2.5],
    [None, "a b'c", None, None, None, None, None, None, None],
]
TABLE = table_of(COLUMNS, ROWS)


def rows(words: str) -> list[int]:
    """The numbers of the matching rows."""
    return [i for i, there in enumerate(parse(words).mask(TABLE)) if there]


@pytest.mark.parametrize(
    ("words", "fit"),
    [
        ("mtu == 1500", [0]),
        ("mtu==1500", [0]),
        ("mtu != 1500", [1, 2]),
        ("mtu < 9000", [0]),
        ("mtu <= 9000", [0, 1]),
        ("mtu > 9000", [2]),
        ("mtu >= 9000", [1, 2]),
        ("mtu == 0x5dc", [0]),
        ("mtu == 0X5DC", [0]),
        ("delta == -5", [0]),
        ("delta > +1", [1]),
        ("load > 1.5", [2]),
        ("load >= .5e0", [0, 1, 2]),
        ('ifname == "eth0"', [0]),
        ("ifname == 'eth0'", [0]),
        ("ifname == eth0", [0]),
        (r"ifname == 'a b\'c'", [3]),
        ('ifname == "a b\'c"', [3]),
        ('ifname ~ "eth*"', [0, 1]),
        ("ifname ~ eth?", [0, 1]),
        ("ifname ~ [el]*", [0, 1, 2]),
        ('not ifname ~ "eth*"', [2, 3]),
        ("ifname in (eth0, lo)", [0, 2]),
        ('ifname in ("eth0")', [0]),
        ("ifname not in (eth0, lo)", [1, 3]),
        ("mtu in (1500,9000)", [0, 1]),
        ("mtu not in (1500)", [1, 2]),
        ("state == up", [0, 2]),
        ('state != "up"', [1]),
        ("state in (up, down)", [0, 1, 2]),
        ("flags has up", [0, 2]),
        ('flags has "broadcast"', [0, 1]),
        ("not flags has up", [1]),
        ("dst == 10.0.0.1", [0]),
        ("dst == ::1", [2]),
        ("dst in 10.0.0.0/8", [0, 1]),
        ('dst in "10.9.0.0/16"', [1]),
        ("dst not in 10.0.0.0/8", [2]),
        ("lladdr == 02:00:00:00:00:01", [0]),
        ("fast == true", [0, 2]),
        ("fast == false", [1]),
        ("mtu == null", [3]),
        ("mtu != null", [0, 1, 2]),
        ("mtu == 1500 or mtu == 9000", [0, 1]),
        ("mtu > 1500 and ifname ~ 'eth*'", [1]),
        # `and` binds tighter than `or`, `not` tighter than both.
        ("ifname == lo or mtu > 1500 and state == down", [1, 2]),
        ("(ifname == lo or mtu > 1500) and state == down", [1]),
        ("not mtu == 1500 and state == up", [2]),
        ("not (mtu == 1500 and state == up)", [1, 2]),
        ("not not mtu == 1500", [0]),
        ("((mtu == 1500))", [0]),
        ("  mtu\n==\t1500  ", [0]),
        ("(mtu == 1500)and(state == up)", [0]),
    ],
)
def test_a_condition_matches_these_rows(words: str, fit: list[int]) -> None:
    assert rows(words) == fit


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "at character 1: the name of a column expected, not the end"),
        ("mtu", "at character 4: ==, !=, <, <=, >, >=, ~, in or has expected, not the end"),
        ("mtu ==", "at character 7: a value expected, not the end"),
        ("mtu = 3", "at character 5: `==` expected, not `= 3`"),
        ("mtu =~ 3", "at character 5: `~` expected, not `=~ 3`"),
        ("mtu <> 3", "at character 5: `!=` expected, not `<> 3`"),
        ("mtu == 3 && mtu == 4", "at character 10: `and` expected, not `&& mtu == 4`"),
        ("mtu == 3 | mtu == 4", "at character 10: `or` expected, not `| mtu == 4`"),
        ("!mtu == 3", "at character 1: `not` expected, not `!mtu == 3`"),
        ("mtu == 3 mtu == 4", "at character 10: `and`, `or` or the end expected, not `mtu == 4`"),
        ("mtu == 3)", "at character 9: `and`, `or` or the end expected, not `)`"),
        ("(mtu == 3", "at character 10: `)` expected, not the end"),
        ("mtu == 3 and", "at character 13: the name of a column expected, not the end"),
        ("and == 3", "at character 1: the name of a column expected, not `and == 3`"),
        ("mtu == and", "at character 8: a value expected, not `and`"),
        ("3 == mtu", "at character 1: the name of a column expected, not `3 == mtu`"),
        ('ifname == "eth', 'at character 11: the other quote expected, not `"eth`'),
        ("ifname ~", "at character 9: a glob, such as eth* expected, not the end"),
        ("mtu in ()", "at character 9: a value expected, not `)`"),
        ("mtu in (1", "at character 10: `)` expected, not the end"),
        ("mtu in (1 2)", "at character 11: `)` expected, not `2)`"),
        ("mtu in", "at character 7: a network, such as 10.0.0.0/8, or values in parentheses expected"),
        ("mtu not 3", "at character 9: `in` expected, not `3`"),
        ("flags has", "at character 10: a flag or a value of the list expected, not the end"),
        ("mtu < null", "at character 7: a value that has an order expected, not `null`"),
        ("mtu == 3 and mtu == (((((((((((", "at character 21: a value expected, not `(((((((((((`"),
        ("__import__('os')", "at character 11: ==, !=, <, <=, >, >=, ~, in or has expected, not `('os')`"),
        ("a.b == 1", "at character 2: ==, !=, <, <=, >, >=, ~, in or has expected, not `.b == 1`"),
    ],
)
def test_errors_name_the_position(words: str, said: str) -> None:
    with pytest.raises(SchemaError) as raised:
        parse(words)
    assert str(raised.value).startswith(said)


def test_long_texts_are_shortened_in_errors() -> None:
    with pytest.raises(SchemaError, match=r"not `mtu == 30000…`$"):
        parse("mtu == 3 mtu == 300000000")


def test_nesting_is_limited() -> None:
    assert rows("(" * 40 + "mtu == 1500" + ")" * 40) == [0]
    for words in ("(" * 10_000, "not " * 10_000 + "mtu == 1"):
        with pytest.raises(SchemaError, match="parentheses within each other"):
            parse(words)


def test_an_invalid_condition_option_is_a_usage_error() -> None:
    assert isinstance(condition("mtu == 1"), Expression)
    with pytest.raises(BadParameter, match="at character 4"):
        condition("mtu")


def test_numbers_may_have_any_length() -> None:
    assert rows(f"mtu == {'9' * 39}") == []
    parse(f"mtu == {'9' * 5000}")


@given(st.text(alphabet="()'\"\\ =!<>~,abimnotu0159.-/*&|\n", max_size=40))
def test_any_text_is_a_condition_or_an_error(words: str) -> None:
    try:
        found = parse(words)
    except SchemaError:
        return
    assert isinstance(found, Expression)
