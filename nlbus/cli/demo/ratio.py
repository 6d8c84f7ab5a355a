"""The demo's third part: how long Python and C take to receive the same datagrams."""

import statistics

import click

from nlbus import Publisher, Subscriber
from nlbus.bench import chains
from nlbus.bench.native import Ears, NoCompiler
from nlbus.bench.pairing import Pairs, compare, timed
from nlbus.bench.reading import Reader, amount
from nlbus.bus.publisher import DATAGRAM_BYTES

ROUNDS = 21
GROUP = 9
A_DATAGRAM = 505  # events of 64 bytes that fill a datagram
PER_TURN = 256  # datagrams
NOISY = 0.15  # a spread of C against itself beyond which a ratio says little


def show() -> None:
    """Measure and print the ratio, or the reason why there is none."""
    mask = 1 << GROUP - 1
    try:
        with (
            Ears(mask, DATAGRAM_BYTES) as first,
            Ears(mask, DATAGRAM_BYTES) as second,
            Subscriber("bus", GROUP, on_loss="ignore") as sub,
            Publisher() as pub,
        ):
            events = chains.events(A_DATAGRAM * max(1, amount(first, PER_TURN, DATAGRAM_BYTES)))
            reader = Reader(sub, chains.EVENT, messages=False)

            def fill() -> int:
                pub.publish_many(events, GROUP)
                return len(events)

            pairs = Pairs()
            python = timed(reader.drain, lambda: reader.lost)
            compare(pairs, timed(first.bus), timed(second.bus), python, rounds=ROUNDS, before=fill, warm_up=1)
    except NoCompiler as error:
        click.echo(f"Skipped: {error}.")
        return
    _report(pairs, len(events))


def _report(pairs: Pairs, events: int) -> None:
    click.echo(
        f"{ROUNDS} rounds of {3 * events:,} events, {A_DATAGRAM} a datagram, on queues filled beforehand, in "
        "changing order:"
    )
    for name, times in (("Python", pairs.ours_ns), ("C", pairs.floor_ns)):
        nanoseconds = statistics.median(times)
        click.echo(f"  {name:8}{nanoseconds:6.2f} ns an event, {1e3 / nanoseconds:6.1f} M a second")
    click.echo(f"  to Python {pairs.delivered:,} delivered, {pairs.lost:,} lost")
    click.echo(
        click.style(f"Python reaches {pairs.ratio:.2f} of the C loop", bold=True)
        + f" (median of {ROUNDS} paired rounds, batch.records() included; C differs from itself by "
        f"{pairs.spread:.1%} in 68 % of them)."
    )
    if pairs.spread > NOISY:
        click.echo(
            "This machine is too noisy for that ratio now: other programs keep its cores busy. Try again."
        )
