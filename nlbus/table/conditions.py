"""Conditions in words, as expressions of `field`: `mtu > 1500 and ifname ~ "eth*"`.

    condition   any of these, with `and`, `or`, `not` and parentheses between them
    test        COLUMN == != < <= > >= VALUE
                COLUMN ~ GLOB
                COLUMN in (VALUE, ...)  or  COLUMN in NETWORK
                COLUMN has FLAG, or of a list COLUMN has VALUE
                COLUMN == null, COLUMN != null
    value       a number (7, -1, 0x10, 1.5), true, false, a word, or a text in quotes of either kind

Nothing is evaluated but these.
"""

import operator
import re
from collections.abc import Callable
from typing import Any

from nlbus.errors import SchemaError
from nlbus.table.expressions import Expression, Operand, field

Value = str | int | float | bool | None

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
SPACE = re.compile(r"\s*")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SIGN = re.compile(r"==|!=|<=|>=|<|>|~")
QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
WORD = re.compile(r"[^\s()'\",<>=!~&|]+")
WHOLE = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+)")
DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?")
CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
RESERVED = ("and", "or", "not", "in", "has")
# What people write who know other languages.
INSTEAD = {"=": "==", "&": "and", "&&": "and", "|": "or", "||": "or", "!": "not", "=~": "~", "<>": "!="}
OTHER_SIGN = re.compile(r"=~|<>|&&?|\|\|?|=(?!=)|!(?!=)")
DEEPEST = 50  # parentheses and nots within each other


def parse(text: str) -> Expression:
    """The expression that this condition is. SchemaError, with the position in the text."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> Expression:
        found = self._any()
        self._skip()
        if self._at < len(self._text):
            raise self._error("`and`, `or` or the end")
        return found

    def _any(self) -> Expression:
        found = self._all()
        while self._keyword("or"):
            found |= self._all()
        return found

    def _all(self) -> Expression:
        found = self._one()
        while self._keyword("and"):
            found &= self._one()
        return found

    def _one(self) -> Expression:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"less than {DEEPEST} parentheses within each other")
        try:
            if self._keyword("not"):
                return ~self._one()
            if self._take("("):
                found = self._any()
                self._expect(")")
                return found
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Expression:
        column = field(self._name())
        if self._keyword("not"):
            self._need("in")
            return ~self._within(column)
        if self._keyword("in"):
            return self._within(column)
        if self._keyword("has"):
            return column.has(self._string("a flag or a value of the list"))
        sign = self._match(SIGN)
        if sign is None or OTHER_SIGN.match(self._text, self._at - len(sign)):
            self._at -= len(sign or "")
            raise self._error("==, !=, <, <=, >, >=, ~, in or has")
        if sign == "~":
            return column.matches(self._string("a glob, such as eth*"))
        start = self._at
        value = self._value()
        if value is not None:
            compared: Expression = COMPARISONS[sign](column, value)
            return compared
        if sign not in ("==", "!="):
            self._at = start
            raise self._error("a value that has an order")
        return column.is_null() if sign == "==" else ~column.is_null()

    def _within(self, column: Operand) -> Expression:
        if not self._take("("):
            return column.within(self._string("a network, such as 10.0.0.0/8, or values in parentheses"))
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._expect(")")
        return column.isin(values)

    # -- what the text is made of -----------------------------------------------------------------

    def _skip(self) -> None:
        matched = SPACE.match(self._text, self._at)
        assert matched is not None
        self._at = matched.end()

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        self._skip()
        matched = pattern.match(self._text, self._at)
        if matched is None:
            return None
        self._at = matched.end()
        return matched[0]

    def _take(self, sign: str) -> bool:
        self._skip()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._error(f"`{sign}`")

    def _keyword(self, word: str) -> bool:
        self._skip()
        matched = NAME.match(self._text, self._at)
        if matched is None or matched[0] != word:
            return False
        self._at = matched.end()
        return True

    def _need(self, word: str) -> None:
        if not self._keyword(word):
            raise self._error(f"`{word}`")

    def _name(self) -> str:
        start = self._at
        name = self._match(NAME)
        if name is None or name in ("and", "or", "not", "has"):
            self._at = start
            raise self._error("the name of a column")
        return name

    def _string(self, what: str) -> str:
        quoted = self._quoted()
        if quoted is None:
            quoted = self._match(WORD)
        if quoted is None:
            raise self._error(what)
        return quoted

    def _value(self) -> Value:
        quoted = self._quoted()
        if quoted is not None:
            return quoted
        start = self._at
        word = self._match(WORD)
        if word is None or word in RESERVED:
            self._at = start
            raise self._error("a value")
        if word in CONSTANTS:
            return CONSTANTS[word]
        if WHOLE.fullmatch(word) and len(word) <= 40:
            return int(word, 16 if "x" in word.lower() else 10)
        return float(word) if DECIMAL.fullmatch(word) else word

    def _quoted(self) -> str | None:
        start = self._at
        whole = self._match(QUOTED)
        if whole is not None:
            return re.sub(r"\\(.)", r"\1", whole[1:-1], flags=re.DOTALL)
        self._skip()
        if self._text[self._at : self._at + 1] in ("'", '"'):
            raise self._error("the other quote")
        self._at = start
        return None

    def _error(self, expected: str) -> SchemaError:
        self._skip()
        other = OTHER_SIGN.match(self._text, self._at)
        if other is not None:
            expected = f"`{INSTEAD[other[0]]}`" if other[0] in INSTEAD else expected
        found = self._text[self._at : self._at + 12]
        found = f"`{found}{'…' * (self._at + 12 < len(self._text))}`" if found else "the end"
        return SchemaError(f"at character {self._at + 1}: {expected} expected, not {found}")
