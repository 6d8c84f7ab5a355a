"""Expressions in words, as `nlbus.table.conditions` reads them."""

from __future__ import annotations

import re

from nlbus.table.expressions import Tree

PLAIN = re.compile(r"[A-Za-z0-9_./:@%+-]+")
LONGEST = 8  # values of a list that are written


def condition_text(tree: Tree, nested: bool = False) -> str:
    """The expression as a condition in words; long lists are cut."""
    sign, *parts = tree
    if sign in ("and", "or"):
        text = f" {sign} ".join(condition_text(part, True) for part in parts)
        return f"({text})" if nested else text
    if sign == "not":
        return f"not {condition_text(parts[0], True)}"
    if sign == "null":
        return f"{parts[0]} == null"
    name, argument = parts
    if sign == "in":
        values = [_value(value) for value in argument[:LONGEST]]
        return f"{name} in ({', '.join(values)}{', …' * (len(argument) > LONGEST)})"
    if sign == "has":
        text = " and ".join(f"{name} has {_value(flag)}" for flag in argument)
        return f"({text})" if nested and len(argument) > 1 else text
    return f"{name} {({'matches': '~', 'within': 'in'}).get(sign, sign)} {_value(argument)}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    text = str(value)
    return text if PLAIN.fullmatch(text) else f'"{text}"'
