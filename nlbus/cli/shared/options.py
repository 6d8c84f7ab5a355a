"""Values of options, as click's `type=` wants them."""

import math
from typing import get_args

import click

from nlbus import Expression, SchemaError
from nlbus.bus.transport import Transport
from nlbus.table.conditions import parse

SIZES = {"": 0, "K": 10, "M": 20, "G": 30}


def group_list(value: str) -> list[str]:
    """Split group numbers or names at commas; what they mean is the source's to say."""
    words = [word.strip() for word in value.split(",")]
    if not all(words):
        raise click.BadParameter(f"{value!r}: group numbers or names, separated by commas")
    return words


def name_list(value: str) -> list[str]:
    """Split names of tables or columns at commas; which there are is the source's to say."""
    words = [word.strip() for word in value.split(",")]
    if not all(words):
        raise click.BadParameter(f"{value!r}: names, separated by commas")
    return words


def condition(value: str) -> Expression:
    """A condition in words, as nlbus/table/conditions.py reads it."""
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
    """The words of an option that was given several times."""
    return [word for words in groups for word in words]


def number(value: str) -> int:
    """An integer, decimal or as 0x100."""
    try:
        return int(value, 0)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an integer, such as 7 or 0x100") from None


def setting(value: str) -> tuple[str, float]:
    """NAME=VALUE, a number; which names there are is the source's to say."""
    name, _, text = value.partition("=")
    try:
        return name.strip(), float(text)
    except ValueError:
        raise click.BadParameter(f"{value!r}: an option and a number, such as copy_range=96") from None


def speed(value: str) -> float | None:
    """`original` is 1; None for `full`."""
    try:
        factor = {"full": None, "original": 1.0}[value] if value in ("full", "original") else float(value)
    except ValueError:
        factor = 0.0
    if factor is None or 0 < factor < math.inf:
        return factor
    raise click.BadParameter(f"{value!r}: full, original, or how many times faster than that")


def namespace(value: str) -> str | int:
    """A network namespace: its name or path, or a pid."""
    return int(value) if value.isascii() and value.isdigit() else value


def uid(value: str) -> int | None:
    """A user id; None for `any`."""
    if value == "any":
        return None
    if value.isascii() and value.isdigit() and int(value) < 1 << 32:
        return int(value)
    raise click.BadParameter(f"{value!r}: a user's number, or any")


def size(value: str) -> int:
    """Bytes, also as 64K, 64M or 1G."""
    number, unit = value[:-1], value[-1:].upper()
    if unit not in SIZES:
        number, unit = value, ""
    if number.isascii() and number.isdigit() and int(number):
        return int(number) << SIZES[unit]
    raise click.BadParameter(f"{value!r}: bytes, such as 1000000, 64M or 1G")


transport_option = click.option(
    "--transport", type=click.Choice(get_args(Transport)), default="auto",
    help="How events of the bus travel; auto: by nlbus.ko where it is loaded, and by NETLINK_USERSOCK.",
)  # fmt: skip
