"""The demo's first part: devices, addresses and routes change, and the kernel's events arrive as arrays."""

import ctypes
import os
import socket
import time
from collections import Counter
from pathlib import Path

import click
import numpy as np

from nlbus import Batch, Subscriber
from nlbus.cli.demo.rtnetlink import RTM_DELROUTE, RTM_NEWROUTE, Rtnetlink
from nlbus.cli.render.records import events
from nlbus.sources import find, group_names

ROUTES = 500
PAIR = "demo0", "demo1"
QUIET = 0.3  # seconds without an event, after which no more are expected
SHOWN = 4


def show() -> None:
    """Make events, then print what arrived."""
    route, uevent = find("route"), find("uevent")
    with Subscriber("route") as links, Subscriber("uevent") as devices, Rtnetlink() as kernel:
        began = time.perf_counter()
        _events(kernel)
        took = time.perf_counter() - began
        remark = _change_lo()
        messages = list(links.batches(timeout=QUIET))
        _count(messages)
        dropped = links.stats()["dropped"]
        click.echo(
            f"{sum(map(len, messages))} messages of rtnetlink in {len(messages)} receives "
            f"({took * 1e3:.0f} ms to make them), {dropped} datagrams dropped."
        )
        largest = max(messages, key=len)
        click.echo(f"The first rows of one receive, batch.messages[:{SHOWN}], a structured array of numpy:")
        rows = largest.messages[:SHOWN]
        click.secho("  " + " ".join(f"{name:>8}" for name in rows.dtype.names or ()), bold=True)
        for row in rows.tolist():
            click.echo("  " + " ".join(f"{value:8}" for value in row))
        click.echo(f"Group {rows['group'][0]} is {group_names(route, [int(rows['group'][0])])[0]}.")
        changes = list(devices.batches(timeout=QUIET))
        records = [record for batch in changes for record in events(uevent, batch)]
    click.echo(f"{len(records)} uevents, among them:")
    for record in records:
        if record.get("devpath", "").count("/") == 4:
            env = record["env"]
            about = f"IFINDEX={env.get('IFINDEX')} SEQNUM={env.get('SEQNUM')}"
            click.echo(f"  {record['time']} {record['action']:7} {record['devpath']} {about}")
    if remark:
        click.echo(remark)


def _events(kernel: Rtnetlink) -> None:
    kernel.add_veth(*PAIR)
    first, second = map(socket.if_nametoindex, PAIR)
    for index in (first, second):
        kernel.set_up(index)
    kernel.add_address(first, "10.11.0.1/24")
    kernel.add_address(second, "fd00:11::2/64")
    networks = [f"10.{12 + i // 256}.{i % 256}.0/24" for i in range(ROUTES)]
    for kind in (RTM_NEWROUTE, RTM_DELROUTE):
        for network in networks:
            kernel.route(kind, first, network)
    kernel.delete_link(first)


def _count(batches: list[Batch]) -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for batch in batches:
        pairs, many = np.unique(batch.messages[["group", "type"]], return_counts=True)
        for (group, kind), count in zip(pairs.tolist(), many.tolist(), strict=True):
            counts[group, kind] += count
    route = find("route")
    click.secho(f"  {'group':16}{'message':20}{'count':>8}", bold=True)
    for (group, kind), count in sorted(counts.items()):
        name = route.type_name(kind) or str(kind)
        click.echo(f"  {group_names(route, [group])[0]:16}{name:20}{count:8}")


def _change_lo() -> str:
    """Make the kernel send a uevent for our own lo; returns the reason if that is not allowed."""
    # /sys shows the caller's lo. Ours needs a mount of its own, which ends with our mount namespace.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None) != 0:
        return f"(No uevent of lo: mounting a sysfs of our own: {os.strerror(ctypes.get_errno())}.)"
    try:
        Path("/sys/class/net/lo/uevent").write_text("change")
    except OSError as error:
        return f"(No uevent of lo: writing to /sys/class/net/lo/uevent: {error.strerror}.)"
    return ""
