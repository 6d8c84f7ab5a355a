"""`nlbus bench kmod`: what nlbus.ko takes, beside what the kernel takes without it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

from nlbus import KernelError, Subscriber, module_stats

GENERATOR = Path("/sys/module/nlbus_gen/parameters")
CALLS = 1_000_000  # of those that nobody hears
RECORD = 64
ROOM = 128  # bytes that such an event takes of a CPU's buffer, at most
QUIET = 0.5  # seconds without an event, after which the rest counts as lost
FEWEST = 15

CAVEATS = """\
One machine, one run: ratios compare, nanoseconds do not. A/A: the same beside itself; in 68 % of the rounds
it differs by no more. An event has 64 bytes; nlbus_gen.ko publishes from one kernel thread, flat out, as many
a round as a CPU's buffer holds (larger with `insmod nlbus.ko buffer_bytes=4194304`). A round ends when Python
has the last one as records. Where a machine is emulated (QEMU without KVM), system calls are dear.
BPF ring buffer: not measured, for that takes clang, libbpf and a kernel with BTF, which are not brought."""


class Shot(NamedTuple):
    """What one run of the generator came to."""

    sent: int
    delivered: int
    publish_ns: int
    total_ns: int  # until the last one was received; before that is known, the clock at the start


@click.command()
@click.option("--rounds", type=click.IntRange(FEWEST), default=FEWEST, help="Of each pair; at least 15.")
def kmod(rounds: int) -> None:
    """Measure nlbus.ko beside netlink without it, with nlbus_gen.ko's events.

    Needs root, and both modules loaded.

    \b
    insmod nlbus.ko && insmod nlbus_gen.ko && nlbus bench kmod
    """
    if not (GENERATOR / "run").exists():
        raise KernelError(0, "measuring nlbus.ko: load nlbus_gen.ko, from the folder of `make kmod`")
    events = int(0.8 * module_stats().buffer_bytes / ROOM)
    click.echo(f"{CAVEATS}\n")
    unheard(rounds)
    beside_broadcast(rounds, events)
    fan_out(events)


def unheard(rounds: int) -> None:
    """Publishing to nobody, beside asking whether there is somebody."""

    def call(name: str) -> Callable[[], float]:
        return lambda: generate(call=name, groups=1, count=CALLS).publish_ns / CALLS

    sides = paired(rounds, *map(call, ("listeners", "publish", "listeners", "nothing")))
    # What the loop itself takes is on all sides.
    asked, published, again = ([a - b for a, b in zip(side, sides[3], strict=True)] for side in sides[:3])
    times = median(asked) / max(median(published), 1e-3)
    click.echo(
        f"publish, nobody listens {median(published):8.1f} ns, netlink_has_listeners {median(asked):8.1f} ns"
    )
    click.echo(f"    ratio {times:5.2f} (wanted 1.5)   A/A {spread(asked, again):.1%}")


def beside_broadcast(rounds: int, events: int) -> None:
    """From the kernel to records in Python, beside a netlink_broadcast an event."""
    shots: dict[str, list[Shot]] = {"publish": [], "broadcast": []}
    with Subscriber(groups=1, transport="module", on_loss="ignore") as sub:

        def send(name: str) -> Callable[[], float]:
            def once() -> float:
                shots[name].append(heard([sub], call=name, groups=1, count=events))
                return shots[name][-1].total_ns / events

            return once

        plain, packed, again = paired(rounds, send("broadcast"), send("publish"), send("broadcast"))
    for name, side in (("netlink_broadcast", plain), ("nlbus_publish", packed)):
        told = shots[name.split("_")[1]]
        got, sent = sum(shot.delivered for shot in told), sum(shot.sent for shot in told)
        click.echo(
            f"{name:18} -> records {median(side):8.0f} ns an event, {1e9 / median(side):12,.0f} a second, "
            f"delivered / sent {got / sent:.4f}"
        )
    click.echo(f"    ratio {ratio(plain, packed):5.1f} (wanted 20)   A/A {spread(plain, again):.1%}")


def fan_out(events: int) -> None:
    """An event for 1, 8 and 32 groups, heard by 1, 4 and 16 subscribers of all of them."""
    click.echo("\ngroups  listeners   ns an event   ns a delivery (groups x listeners)   delivered / sent")
    for groups in (1, 8, 32):
        for listeners in (1, 4, 16):
            members = range(1, groups + 1)
            subs = [
                Subscriber(groups=members, transport="module", on_loss="ignore") for _ in range(listeners)
            ]
            few = max(500, events // (groups * listeners))
            try:
                shots = [heard(subs, groups=(1 << groups) - 1, count=few) for _ in range(3)]
            finally:
                for sub in subs:
                    sub.close()
            cost = median([shot.total_ns / events for shot in shots])
            share = sum(shot.delivered for shot in shots) / sum(shot.sent * listeners for shot in shots)
            click.echo(
                f"{groups:6}  {listeners:9}  {cost:12.0f}   {cost / groups / listeners:13.1f}   {share:38.4f}"
            )


# -- one run --------------------------------------------------------------------------------------


def generate(**settings: object) -> Shot:
    """One run of the generator: events that it handed over, and how long that took."""
    prepare(**settings)
    return pull()


def prepare(**settings: object) -> None:
    """Set the generator's parameters."""
    for name, value in ({"call": "publish", "context": "process", "size": RECORD} | settings).items():
        (GENERATOR / name).write_text(str(value))


def pull() -> Shot:
    """Let it run."""
    start = time.perf_counter_ns()
    (GENERATOR / "run").write_text("1")
    told = dict(pair.split("=") for pair in (GENERATOR / "run").read_text().split())
    return Shot(sum(int(told[name]) for name in ("taken", "full")), 0, int(told["ns"]), start)


def heard(subs: list[Subscriber], **settings: object) -> Shot:
    """One run, read meanwhile, until all have what was sent or nothing comes any more."""
    for sub in subs:
        while sub.recv(timeout=0):  # what came too late
            pass
    prepare(**settings)
    made: list[Shot] = []
    publishing = threading.Thread(target=lambda: made.append(pull()))
    missing = [int(str(settings["count"]))] * len(subs)
    got = 0
    last = time.perf_counter_ns()
    publishing.start()
    while any(count > 0 for count in missing) and time.perf_counter_ns() - last < QUIET * 1e9:
        for i, sub in enumerate(subs):
            # It must not keep the generator's thread from running.
            batch = sub.recv(timeout=0.01 if missing[i] > 0 else 0)
            if batch or batch.loss:
                last = time.perf_counter_ns()
                records = len(batch.records(f"V{RECORD}"))
                got += records
                missing[i] -= records + batch.loss.events
    publishing.join()
    return made[0]._replace(delivered=got, total_ns=last - made[0].total_ns)


def paired(rounds: int, *sides: Callable[[], float]) -> list[list[float]]:
    """What each side takes, in turns whose order changes; one round to warm up."""
    taken: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        order = list(range(len(sides)))
        order = order[turn % len(sides) :] + order[: turn % len(sides)]
        for i in order:
            took = sides[i]()
            if turn:
                taken[i].append(took)
    return taken


def ratio(floor: list[float], ours: list[float]) -> float:
    """How many times faster ours is, round by round."""
    return median([a / max(b, 1e-9) for a, b in zip(floor, ours, strict=True)])


def spread(side: list[float], again: list[float]) -> float:
    """By how much the same thing differs from itself, in 68 % of the rounds."""
    off = sorted(abs(a - b) / ((a + b) / 2) for a, b in zip(side, again, strict=True))
    return off[int(0.68 * (len(off) - 1))]
