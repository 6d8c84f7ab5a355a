"""Kinds of operations that this kernel cannot do, found by trying."""

from __future__ import annotations

import subprocess
from functools import cache

from tests.support.monitors import unsanitized
from tests.support.operations.kinds import KINDS

# A command in an empty namespace that fails where the kernel lacks something, and kinds that need it.
NEEDS = {
    "ip link add br0 type bridge vlan_filtering 1": (
        "bridge vlan", "bridge filtering", "fdb add vlan", "mdb vlan",
    ),
    "ip link add br0 type bridge": ("bridge", "fdb", "mdb", "link bridge", "link master", "link nomaster"),
    "ip link add vx0 type vxlan id 1 dstport 4789": ("link vxlan", "fdb vxlan", "link protodown"),
    "ip link add ifb0 type ifb": ("link ifb",),
    "ip tuntap add tun0 mode tun": ("link tun", "link tap"),
    "tc qdisc add dev lo root htb": ("qdisc htb", "qdisc child", "class", "filter u32", "filter del"),
    "tc qdisc add dev lo root tbf rate 1mbit burst 10k limit 10k": ("qdisc tbf",),
    "tc qdisc add dev lo clsact": ("qdisc clsact", "qdisc ingress", "filter", "chain"),
    "ip nexthop show": ("nexthop", "fdb vxlan nexthop"),
    "conntrack -L": ("conntrack",),
}  # fmt: skip


@cache
def lacking() -> frozenset[str]:
    """The kinds that cannot succeed here."""
    without = [prefix for command, prefixes in NEEDS.items() if not _works(command) for prefix in prefixes]
    return frozenset(kind for kind in KINDS if kind.startswith(tuple(without))) if without else frozenset()


def _works(command: str) -> bool:
    run = subprocess.run(
        ["unshare", "-n", *command.split()], capture_output=True, env=unsanitized(), check=False
    )
    return run.returncode == 0
