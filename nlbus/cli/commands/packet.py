"""`nlbus packet`: the rules by which the kernel module nlbus_packet drops packets, or tells of a few only."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from nlbus.cli.shared.options import flat, name_list, namespace
from nlbus.cli.shared.stdout import discard_stdout, write_all
from nlbus.packet import ACTIONS, Action, Rule
from nlbus.packet import add as add_rule
from nlbus.packet import delete as delete_rule
from nlbus.packet import flush as flush_rules
from nlbus.packet import rules as all_rules

COUNTERS = ("handle", "packets", "bytes", "events")
in_netns = click.option(
    "--netns", type=namespace, metavar="NAME|PATH|PID", help="The rules of this network namespace."
)


def ports(value: str) -> tuple[int, int]:
    """A port, or a range such as 1024-65535."""
    first, dash, last = value.partition("-")
    try:
        return int(first), int(last if dash else first)
    except ValueError:
        raise click.BadParameter(f"{value!r}: a port such as 53, or a range such as 1024-65535") from None


def protocol(value: str) -> str | int:
    """A name or a number."""
    return int(value) if value.isascii() and value.isdigit() else value.lower()


@click.group()
def packet() -> None:
    """Look at IP packets, and drop some: by the kernel module nlbus_packet.

    It tells each packet that passes a hook of netfilter (pre_routing, local_in, forward, local_out,
    post_routing: the groups of the source `packet`), as long as somebody listens. Rules decide which are
    dropped, and of which only a sample is told. Both are of one network namespace.

    \b
    modprobe nlbus_packet                       after `make install-kmod`
    nlbus listen packet                         each packet as it comes in and goes out
    nlbus listen packet -g local_in --where 'dport == 22 and tcp_flags has "syn"'
    nlbus listen packet -g drop                 what the rules drop
    nlbus sources packet packet                 what is known of a packet
    nlbus packet rules add drop --protocol tcp --dport 23 --hook local_in
    nlbus packet rules list
    nlbus record packet web.pcapng -s 60        for `nlbus replay`
    """


@packet.group()
def rules() -> None:
    """Add, list and delete rules; it needs CAP_NET_ADMIN.

    For each packet at each hook the first rule that matches decides; where none does, the packet is accepted,
    and told to who listens. nftables and its rules come after these.

    \b
    nlbus packet rules add drop --src 192.0.2.0/24 --hook pre_routing
    nlbus packet rules add accept --protocol tcp --dport 22 --before 1
    nlbus packet rules add sample --one-in 100 --protocol udp --dport 443
    nlbus packet rules list -o json
    nlbus packet rules delete 1
    nlbus packet rules flush
    """


@rules.command()
@click.argument("action", type=click.Choice(ACTIONS))
@click.option(
    "--one-in", type=int, metavar="N", help="With sample: accept, and tell one packet in N, from the first."
)
@click.option(
    "--hook",
    "hooks",
    type=name_list,
    multiple=True,
    metavar="H,...",
    help="Only at these hooks: pre_routing, local_in, forward, local_out, post_routing.",
)
@click.option("--family", type=click.Choice(["inet", "inet6"]), help="Only IPv4, or only IPv6.")
@click.option("--protocol", type=protocol, metavar="P", help="tcp, udp, icmp ... or a number.")
@click.option("--src", metavar="PREFIX", help="From this address or prefix: 10.0.0.0/8, fe80::/10.")
@click.option("--dst", metavar="PREFIX", help="To this address or prefix.")
@click.option("--sport", type=ports, metavar="P[-P]", help="From this port, or one of this range.")
@click.option("--dport", type=ports, metavar="P[-P]", help="To this port. Later fragments have none.")
@click.option("--iif", metavar="IFNAME", help="Came in by this interface.")
@click.option("--oif", metavar="IFNAME", help="Goes out by this interface.")
@click.option("--before", type=int, metavar="HANDLE", help="Before this rule; without it, at the end.")
@in_netns
def add(
    *, action: Action, hooks: tuple[list[str], ...], before: int | None, netns: str | int | None, **match: Any
) -> None:
    """Add a rule: what is done (accept, drop, sample) with packets that match all the options.

    Prints the rule's handle.

    \b
    nlbus packet rules add drop --protocol icmp --hook local_in
    nlbus packet rules add accept --src 10.0.0.7 --before 1
    nlbus packet rules add sample --one-in 1000 --protocol tcp --sport 1024-65535 --iif eth0
    """
    rule = add_rule(Rule(action=action, hooks=tuple(flat(hooks)), **match), before=before, netns=netns)
    _print([str(rule.handle)])


@rules.command(name="list")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="A table, or a JSON object a line.",
)
@in_netns
def list_rules(*, output: str, netns: str | int | None) -> None:
    """List the rules in their order: handle, packets that matched, their bytes, how many were told.

    \b
    nlbus packet rules list
    nlbus packet rules list --netns blue -o json | jq 'select(.packets == 0)'
    """
    found = all_rules(netns=netns)
    _print((json.dumps(asdict(rule)) for rule in found) if output == "json" else _table(found))


@rules.command()
@click.argument("handles", type=int, nargs=-1, required=True, metavar="HANDLE...")
@in_netns
def delete(*, handles: tuple[int, ...], netns: str | int | None) -> None:
    """Delete the rules of these handles, which `nlbus packet rules list` shows."""
    for handle in handles:
        delete_rule(handle, netns=netns)


@rules.command()
@in_netns
def flush(*, netns: str | int | None) -> None:
    """Delete all rules: nothing is dropped any more, and each packet told."""
    flush_rules(netns=netns)


def _print(lines: Iterator[str] | list[str]) -> None:
    try:
        write_all("".join(f"{line}\n" for line in lines))
    except BrokenPipeError:
        discard_stdout()


def _table(found: list[Rule]) -> Iterator[str]:
    yield click.style(f"{'HANDLE':>6}  {'PACKETS':>10}  {'BYTES':>12}  {'EVENTS':>10}  RULE", bold=True)
    for rule in found:
        yield f"{rule.handle:>6}  {rule.packets:>10}  {rule.bytes:>12}  {rule.events:>10}  {as_words(rule)}"


def as_words(rule: Rule) -> str:
    """The rule as `nlbus packet rules add` takes it."""
    words: list[str] = [rule.action]
    for name, value in asdict(rule).items():
        if name == "action" or name in COUNTERS or value is None or value == ():
            continue
        if name == "hooks":
            words += ["--hook", ",".join(value)]
        elif name in ("sport", "dport"):
            words += [f"--{name}", "-".join(map(str, value if value[0] != value[1] else value[:1]))]
        else:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return " ".join(words)
