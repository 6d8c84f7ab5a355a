"""`nlbus bench kmod`: the cost of nlbus.ko beside plain netlink."""

from typing import Any

import click

from nlbus.cli.shared.action import act
from nlbus.cli.shared.options import (
    Count,
)

FEWEST, MAX_ROUNDS = 15, 100_000


@click.command()
@click.option(
    "--rounds",
    type=Count(FEWEST, MAX_ROUNDS),
    default=FEWEST,
    help="Measure this many rounds of each pair, at least 15.",
)
def kmod(**options: Any) -> None:
    """Measure nlbus.ko beside plain netlink, with events of nlbus_gen.ko.

    It needs root and both modules loaded. The BPF ring buffer needs clang and libbpf (libbpf-dev).

    \b
    insmod nlbus.ko buffer_bytes=4194304 && insmod nlbus_gen.ko && nlbus bench kmod
    """
    act("bench_kmod", options, "kmod")
