"""`nlbus bench kmod`: the cost of nlbus.ko beside plain netlink."""

from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import click

from nlbus import Subscriber
from nlbus.bench.generator import Ear, Run, check, generate, heard, in_c, records
from nlbus.bench.native.compiling import NoCompiler
from nlbus.bench.native.floor import Ears
from nlbus.bench.native.ringbuf import NoRingbuf, Ringbuf
from nlbus.bench.results import spread_of
from nlbus.bus.publisher import DATAGRAM_BYTES
from nlbus.sources.bus import module_protocol

CALLS = 300_000  # per round, without a listener
EVENTS = 400_000  # per round, packed
ALONE = 40_000  # per round, one per datagram
DELIVERIES = 200_000  # per round, in the table of groups and listeners

CAVEATS = """\
One machine, one run: ratios compare, nanoseconds do not. A/A: the same beside itself; in 68 % of the rounds
it differs by no more. An event has 64 bytes; nlbus_gen.ko publishes from one kernel thread, flat out: what
finds the buffer of its CPU full is lost, and not counted as delivered (`insmod nlbus.ko buffer_bytes=4194304`
makes it as large as the BPF ring buffer here). A round ends when the last event was received. Where a machine
is emulated (QEMU without KVM), system calls are dear."""

# One round: events sent and received, and the time.
Side = Callable[[], Run]


def kmod(rounds: int) -> None:
    """Measure nlbus.ko beside plain netlink, with events of nlbus_gen.ko."""
    check()
    click.echo(f"{CAVEATS}\n")
    for groups in (1, 8, 32):
        unheard(rounds, groups)
    beside_broadcast(rounds)
    try:
        beside_ringbuf(rounds)
    except (NoCompiler, NoRingbuf) as error:
        click.echo(f"\nBPF ring buffer: not measured: {error}")
    fan_out()


def unheard(rounds: int, groups: int) -> None:
    """Publishing without listeners, beside checking each group for listeners."""

    def call(name: str) -> Side:
        return lambda: generate(call=name, groups=(1 << groups) - 1, count=CALLS)

    runs = paired(rounds, *map(call, ("listeners", "publish", "listeners", "nothing")))
    times = [[run.publish_ns / CALLS for run in side] for side in runs]
    # All sides include the loop itself: subtract it.
    probe, published, again = ([a - b for a, b in zip(side, times[3], strict=True)] for side in times[:3])
    click.echo(
        f"nobody listens, {groups:2} groups: publish {median(published):7.1f} ns, "
        f"netlink_has_listeners of each {median(probe):7.1f} ns: "
        f"{median(probe) / max(median(published), 1e-3):5.2f} x (wanted 1.5)   A/A {spread(probe, again):.1%}"
    )


def beside_broadcast(rounds: int) -> None:
    """From the kernel to records in Python, beside one netlink_broadcast per event."""
    with ExitStack() as stack:
        # Each in a group of its own: a subscriber adapts to the events it receives.
        ours, theirs = (listening(stack, group) for group in (1, 2))
        packed = lambda: heard([ours], EVENTS, groups=1)  # noqa: E731
        plain = lambda: heard([theirs], ALONE, groups=2, call="broadcast")  # noqa: E731
        runs = paired(rounds, plain, packed, plain)
    click.echo("\nfrom the kernel to records in Python")
    show("a netlink_broadcast an event", [*runs[0], *runs[2]])
    show("nlbus_publish", runs[1])
    click.echo(
        f"    {ratio(runs[0], runs[1]):5.1f} x (wanted 20)   A/A {spread(costs(runs[0]), costs(runs[2])):.1%}"
    )


def beside_ringbuf(rounds: int) -> None:
    """From the kernel to Python, and to C, beside a BPF ring buffer to C."""
    with ExitStack() as stack:
        ringbuf = stack.enter_context(Ringbuf())
        ringbuf.round(1)
        ours = listening(stack, 1)
        protocol = module_protocol()
        assert protocol is not None
        ears = in_c(stack.enter_context(Ears(1 << 2, DATAGRAM_BYTES, protocol)))

        def bpf() -> Run:
            found = ringbuf.round(EVENTS)
            return Run(found.taken + found.full, found.received, found.total_ns, 0)

        python = lambda: heard([ours], EVENTS, groups=1)  # noqa: E731
        c = lambda: heard([ears], EVENTS, groups=4)  # noqa: E731
        runs = paired(rounds, bpf, python, bpf, c)
    click.echo("\nbeside a BPF ring buffer (bpf_loop: reserve, submit; libbpf)")
    show("BPF ring buffer -> C", [*runs[0], *runs[2]])
    show("nlbus_publish -> records in Python", runs[1])
    show("nlbus_publish -> C", runs[3])
    click.echo(
        f"    {ratio(runs[0], runs[1]):5.2f} x in Python, {ratio(runs[0], runs[3]):5.2f} x in C (wanted 1)   "
        f"A/A {spread(costs(runs[0]), costs(runs[2])):.1%}"
    )


def fan_out() -> None:
    """An event for 1, 8 and 32 groups, heard by 1, 4 and 16 subscribers of all of them."""
    click.echo("\ngroups  listeners   ns an event   ns a delivery (groups x listeners)   delivered / sent")
    for groups in (1, 8, 32):
        for listeners in (1, 4, 16):
            count = max(2000, DELIVERIES // (groups * listeners))
            with ExitStack() as stack:
                ears = [listening(stack, *range(1, groups + 1)) for _ in range(listeners)]
                runs = [heard(ears, count, groups=(1 << groups) - 1) for _ in range(4)][1:]
            cost = median(run.total_ns / run.sent for run in runs)
            share = sum(run.delivered for run in runs) / sum(run.sent * listeners for run in runs)
            click.echo(
                f"{groups:6}  {listeners:9}  {cost:12.0f}   {cost / groups / listeners:13.1f}   {share:38.4f}"
            )


def listening(stack: ExitStack, *groups: int) -> Ear:
    """A subscriber that lives as long as the stack."""
    return records(stack.enter_context(Subscriber(groups=groups, transport="module", on_loss="ignore")))


def paired(rounds: int, *sides: Side) -> list[list[Run]]:
    """The runs of each side, in turns whose order changes, after one round to warm up."""
    runs: list[list[Run]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        order = list(range(len(sides)))
        order = order[turn % len(sides) :] + order[: turn % len(sides)]
        for i in order:
            run = sides[i]()
            if turn:
                runs[i].append(run)
    return runs


def costs(side: list[Run]) -> list[float]:
    """Nanoseconds per delivered event."""
    return [run.total_ns / max(run.delivered, 1) for run in side]


def show(name: str, side: list[Run]) -> None:
    """Print the line of one side."""
    cost = median(costs(side))
    share = sum(run.delivered for run in side) / sum(run.sent for run in side)
    click.echo(
        f"  {name:34} {cost:7.0f} ns an event, {1e9 / cost:12,.0f} a second, delivered / sent {share:.4f}"
    )


def ratio(floor: list[Run], ours: list[Run]) -> float:
    """How many times faster ours is, round by round."""
    return median([a / b for a, b in zip(costs(floor), costs(ours), strict=True)])


def spread(side: list[float], again: list[float]) -> float:
    """The spread of the same thing beside itself."""
    return spread_of([a / b for a, b in zip(side, again, strict=True)]) or 0.0
