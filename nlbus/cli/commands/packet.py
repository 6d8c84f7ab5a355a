"""`nlbus packet`: the rules by which the kernel module nlbus_packet drops or samples packets."""

from typing import Any

import click

from nlbus.cli.shared.action import act
from nlbus.cli.shared.options import (
    Count,
    name_list,
    namespace,
    whole_number,
)

ACTIONS = ("accept", "drop", "sample")
MAX_PORT, MAX_PROTOCOL, MAX_U32 = 0xFFFF, 0xFF, 0xFFFF_FFFF
in_netns = click.option(
    "--netns", type=namespace, metavar="NAME|PATH|PID", help="Use the rules of this network namespace."
)


def ports(value: str) -> tuple[int, int]:
    """A port, or a range such as 1024-65535."""
    first, dash, last = value.partition("-")
    low = whole_number(first, MAX_PORT)
    high = whole_number(last, MAX_PORT) if dash else low
    if low is None or high is None:
        raise click.BadParameter(f"{value!r}: a port such as 53, or a range such as 1024-65535")
    return low, high


def protocol(value: str) -> str | int:
    """A name, or a number from 0 to 255."""
    if not value.isascii() or not value.lstrip("-").isdigit():
        return value.lower()
    number = whole_number(value, MAX_PROTOCOL)
    if number is None:
        raise click.BadParameter(f"{value!r}: a name such as tcp, or a number from 0 to {MAX_PROTOCOL}")
    return number


@click.group()
def packet() -> None:
    """Look at IP packets and drop some, with the kernel module nlbus_packet.

    While somebody listens, it reports each packet that passes a netfilter hook (pre_routing, local_in,
    forward, local_out, post_routing: the groups of the source `packet`). Rules decide which packets are
    dropped, and which are only sampled. Listeners and rules belong to one network namespace.

    \b
    modprobe nlbus_packet                       after `make install-kmod`
    nlbus listen packet                         incoming and outgoing packets
    nlbus listen packet -g local_in --where 'dport == 22 and tcp_flags has "syn"'
    nlbus listen packet -g drop                 packets that rules drop
    nlbus sources packet packet                 the columns of a packet
    nlbus packet rules add drop --protocol tcp --dport 23 --hook local_in
    nlbus packet rules list
    nlbus record packet web.pcapng -s 60        for `nlbus replay`
    """


@packet.group()
def rules() -> None:
    """Add, list and delete rules. This needs CAP_NET_ADMIN.

    For each packet at each hook, the first matching rule decides. A packet without a match is accepted and
    reported. nftables runs after these rules.

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
    "--one-in",
    type=Count(most=MAX_U32),
    metavar="N",
    help="With sample: accept, and report one packet in N, beginning with the first.",
)
@click.option(
    "--hook",
    "hooks",
    type=name_list,
    multiple=True,
    metavar="H,...",
    help="Match only at these hooks: pre_routing, local_in, forward, local_out, post_routing.",
)
@click.option("--family", type=click.Choice(["inet", "inet6"]), help="Match only IPv4, or only IPv6.")
@click.option(
    "--protocol", type=protocol, metavar="P", help="Match this protocol: tcp, udp, icmp ... or a number."
)
@click.option("--src", metavar="PREFIX", help="Match this source address or prefix: 10.0.0.0/8, fe80::/10.")
@click.option("--dst", metavar="PREFIX", help="Match this destination address or prefix.")
@click.option("--sport", type=ports, metavar="P[-P]", help="Match this source port or range.")
@click.option(
    "--dport",
    type=ports,
    metavar="P[-P]",
    help="Match this destination port or range. Later fragments have no ports.",
)
@click.option("--iif", metavar="IFNAME", help="Match this input interface.")
@click.option("--oif", metavar="IFNAME", help="Match this output interface.")
@click.option(
    "--before",
    type=Count(most=MAX_U32),
    metavar="HANDLE",
    help="Insert it before this rule instead of at the end.",
)
@in_netns
def add(**options: Any) -> None:
    """Add a rule: accept, drop or sample the packets that match all options.

    Prints the rule's handle.

    \b
    nlbus packet rules add drop --protocol icmp --hook local_in
    nlbus packet rules add accept --src 10.0.0.7 --before 1
    nlbus packet rules add sample --one-in 1000 --protocol tcp --sport 1024-65535 --iif eth0
    """
    act("packet", options, "add")


@rules.command(name="list")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="A table, or one JSON object per line.",
)
@in_netns
def list_rules(**options: Any) -> None:
    """List the rules in order: handle, matching packets, their bytes, packets reported.

    \b
    nlbus packet rules list
    nlbus packet rules list --netns blue -o json | jq 'select(.packets == 0)'
    """
    act("packet", options, "list_rules")


@rules.command()
@click.argument("handles", type=Count(most=MAX_U32), nargs=-1, required=True, metavar="HANDLE...")
@in_netns
def delete(**options: Any) -> None:
    """Delete the rules of these handles, which `nlbus packet rules list` shows."""
    act("packet", options, "delete")


@rules.command()
@in_netns
def flush(**options: Any) -> None:
    """Delete all rules: then no packet is dropped, and each is reported."""
    act("packet", options, "flush")
