"""The values of options: parsers and number types that reject at once what no command can use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from nlbus.errors import SchemaError
from nlbus.kernel.arguments import MAX_SECONDS

if TYPE_CHECKING:
    from nlbus import Expression

SIZES = {"": 0, "K": 10, "M": 20, "G": 30}
LARGEST = (1 << 63) - 1
FASTEST = 1e9
MAX_DIGITS = 19  # of LARGEST
TRANSPORTS = ("auto", "usersock", "module")  # of nlbus.bus.transport
MAX_UID = (1 << 32) - 2  # (uid_t) -1 is no user


class Count(click.IntRange):
    """A whole number of at least `least`, and at most `most`."""

    def __init__(self, least: int = 1, most: int = LARGEST) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. BadParameter."""
        if isinstance(value, str) and len(value) > MAX_DIGITS + 1:
            self.fail(f"{value[:MAX_DIGITS]!r}... has too many digits", param, ctx)
        return int(super().convert(value, param, ctx))


class Seconds(click.FloatRange):
    """A finite number of seconds from 0, or above 0 with `positive`, to `most`."""

    def __init__(self, most: float = MAX_SECONDS, *, positive: bool = False) -> None:
        super().__init__(0, most, min_open=positive)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds. BadParameter."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):  # compares with no limit
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


def whole_number(text: str, most: int) -> int | None:
    """The number that these decimal digits are; None for anything else, and beyond `most`."""
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS or int(text) > most:
        return None
    return int(text)


def group_list(value: str) -> list[str]:
    """Split group numbers or names at commas; the source resolves them."""
    return _words(value, "group numbers or names, separated by commas")


def name_list(value: str) -> list[str]:
    """Split names of tables or columns at commas; the source resolves them."""
    return _words(value, "names, separated by commas")


def _words(value: str, expected: str) -> list[str]:
    words = [word.strip() for word in value.split(",")]
    if not all(words):
        raise click.BadParameter(f"{value!r}: {expected}")
    return words


def condition(value: str) -> Expression:
    """Parse a condition, in the language of nlbus/table/conditions.py."""

    from nlbus.table.conditions import parse  # noqa: PLC0415 - see cli/commands/__init__.py

    try:
        return parse(value)
    except SchemaError as error:
        raise click.BadParameter(str(error)) from None


def key_glob(value: str) -> tuple[str, str]:
    """KEY=GLOB."""
    key, sign, glob = value.partition("=")
    if not key or not sign:
        raise click.BadParameter(f"{value!r}: a key and a glob, such as SUBSYSTEM=net or ifname='eth*'")
    return key, glob


def flat(groups: tuple[list[str], ...]) -> list[str]:
    """The words of all occurrences of an option."""
    return [word for words in groups for word in words]


def event_type(value: str) -> int:
    """An integer from 0 to 2^32-1, decimal or as 0x100."""
    try:
        number = int(value, 0) if len(value) <= MAX_DIGITS else -1
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise click.BadParameter(f"{value!r}: an integer from 0 to 0xffffffff, such as 7 or 0x100")
    return number


def setting(value: str) -> tuple[str, float]:
    """NAME=VALUE, where VALUE is a finite number; the source checks name and range."""
    name, _, text = value.partition("=")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:  # nan is not either
        raise click.BadParameter(f"{value!r}: an option and a number, such as copy_range=96")
    return name.strip(), number


def speed(value: str) -> float | None:
    """A factor: 1 for `original`, None for `full`."""
    try:
        factor = {"full": None, "original": 1.0}[value] if value in ("full", "original") else float(value)
    except ValueError:
        factor = 0.0
    if factor is None or 1 / FASTEST <= factor <= FASTEST:
        return factor
    raise click.BadParameter(f"{value!r}: full, original, or how many times faster than that")


def namespace(value: str) -> str | int:
    """A network namespace: its name or path, or a pid."""
    number = whole_number(value, LARGEST)
    return value if number is None else number


def uid(value: str) -> int | None:
    """A user id; None for `any`."""
    if value == "any":
        return None
    number = whole_number(value, MAX_UID)
    if number is None:
        raise click.BadParameter(f"{value!r}: a numeric user id, or any")
    return number


def size(value: str) -> int:
    """Bytes, also as 64K, 64M or 1G."""
    digits, unit = value[:-1], value[-1:].upper()
    if unit not in SIZES:
        digits, unit = value, ""
    number = whole_number(digits, LARGEST >> SIZES[unit])
    if not number:
        raise click.BadParameter(f"{value!r}: bytes, such as 1000000, 64M or 1G")
    return number << SIZES[unit]


transport_option = click.option(
    "--transport", type=click.Choice(TRANSPORTS), default="auto", show_default=True,
    help="How events of the bus travel. auto: through nlbus.ko if it is loaded, and over NETLINK_USERSOCK.",
)  # fmt: skip
fail_on_loss_option = click.option(
    "--fail-on-loss", is_flag=True, help="Exit with 3 at the end if any event was lost."
)
