"""Sequences of operations: made from a seed, printed as a script, and shrunk to those that matter."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from tests.support.operations.kinds import KINDS, SUBJECTS, Operation, of_subject

PAIRS = (
    Operation("prelude", "sysctl", "net.ipv6.conf.default.accept_dad=0"),
    Operation("prelude", "sysctl", "net.ipv6.conf.default.dad_transmits=0"),
    *(
        Operation("prelude", "ip", line)
        for line in (
            "link set lo up",
            "link add v0 type veth peer name v1",
            "link add v2 type veth peer name v3",
            *(f"link set v{i} up" for i in range(4)),
            "addr add 10.0.0.1/24 dev v0",
            "addr add 10.0.1.1/24 dev v2",
            "addr add fd00::1/64 dev v0 nodad",
            "addr add fd01::1/64 dev v2 nodad",
        )
    ),
)
BRIDGE = (
    Operation("link bridge", "ip", "link add br0 type bridge"),
    Operation("bridge up", "ip", "link set br0 up"),
    Operation("link vxlan", "ip", "link add vx0 type vxlan id 1 dstport 4789 local 10.0.0.1"),
    *(Operation("bridge master", "ip", f"link set {port} master br0") for port in ("v1", "v3", "vx0")),
)
MOST = {"connections": 12}  # a process each


# What operations of a subject need, or most of them would fail.
SETUPS = {
    "bridges": (
        *BRIDGE,
        Operation("nexthop fdb", "ip", "nexthop add id 4 via 10.0.0.2 fdb"),
        Operation("nexthop fdb", "ip", "nexthop add id 10 group 4 fdb"),
        Operation("fdb self", "bridge", "fdb add 02:00:00:00:00:01 dev v1 self"),
    ),
    "multicast": BRIDGE,
    "nexthops": (
        *(Operation("nexthop via6", "ip", f"nexthop add id {i} via fd00::{i} dev v0") for i in (2, 3)),
        Operation("nexthop group", "ip", "nexthop add id 11 group 2/3"),
        Operation("nexthop fdb", "ip", "nexthop add id 4 via 10.0.0.2 fdb"),
    ),
    "traffic": (
        Operation("qdisc htb", "tc", "qdisc add dev v0 root handle 1: htb default 1"),
        *(
            Operation("class add", "tc", f"class add dev v0 parent 1: classid 1:{i} htb rate {i}mbit")
            for i in (1, 2, 3)
        ),
        Operation("qdisc ingress", "tc", "qdisc add dev v2 ingress"),
        Operation(
            "filter u32", "tc", "filter add dev v0 parent 1: protocol ip prio 1 u32 match u32 0 0 flowid 1:1"
        ),
    ),
    "routes6": (
        Operation("route6 multipath", "ip -6", "route add fd09::/64 nexthop via fd00::2 dev v0 nexthop via "
                  "fd01::2 dev v2"),
    ),
}  # fmt: skip


def _there_and_back(rng: random.Random) -> list[Operation]:
    """A link visits the other namespace, where it goes down, or away."""
    device = rng.choice(("v0", "v1", "v2", "v3"))
    return [
        Operation("link netns", "ip", f"link set {device} netns OTHER"),
        Operation("link in other", "ip-other", f"link set {device} up"),
        rng.choice((
            Operation("link other del", "ip-other", f"link del {device}"),
            Operation("link from other", "ip-other", f"link set {device} netns HOME"),
        )),
    ]  # fmt: skip


@dataclass(frozen=True)
class Churn:
    """What happens in a namespace, and how a subscriber listens to it.

    breaks: operations after which the subscriber receives. small: its buffer holds next to nothing.
    """

    seed: int
    subject: str
    operations: tuple[Operation, ...]
    breaks: frozenset[int]
    small: bool
    late: bool  # the subscriber comes after the prelude

    @property
    def source(self) -> str:
        """The source that tells of them."""
        return "conntrack" if self.subject == "connections" else "route"

    @property
    def prelude(self) -> tuple[Operation, ...]:
        """What is there before."""
        return () if self.source == "conntrack" else PAIRS

    def bursts(self) -> list[tuple[str, list[Operation]]]:
        """Operations that one process of their tool does, up to the next break."""
        turn, numbered = 0, []
        for i, operation in enumerate(self.operations):
            numbered.append((turn, operation))
            turn += i in self.breaks
        return [
            (tool, [operation for _, operation in group])
            for (_, tool), group in groupby(numbered, lambda each: (each[0], each[1].tool))
        ]

    def script(self) -> str:
        """For a person: OTHER is a second namespace, HOME the first."""
        how = ["a tiny buffer"] * self.small + ["from after the prelude"] * self.late
        lines = [f"# seed {self.seed}: {self.subject}, {', '.join(how) or 'an ordinary subscriber'}"]
        for i, operation in enumerate(self.operations):
            lines.append(str(operation))
            if i in self.breaks:
                lines.append("# recv")
        return "\n".join(lines)


def sequence(seed: int) -> Churn:
    """The sequence of a seed."""
    rng = random.Random(seed)
    subject = list(SUBJECTS)[seed % len(SUBJECTS)] if rng.random() < 0.8 else "everything"
    if subject == "everything":
        names = [name for name in KINDS if not name.startswith("conntrack")]
    else:
        names = of_subject(subject)
    length = rng.randint(4, MOST.get(subject, 50))
    operations: list[Operation] = []
    if rng.random() < 0.9:
        operations += SETUPS.get(subject, ())
    if subject == "nexthops":
        operations += [KINDS[kind](rng) for kind in ("nexthop via", "nexthop replace", "nexthop via6") * 2]
    if subject == "links" and rng.random() < 0.5:
        operations += _there_and_back(rng)
    operations += [KINDS[rng.choice(names)](rng) for _ in range(length)]
    if subject not in ("everything", "connections"):
        # A process a burst: lines of one tool side by side, as in a script.
        tools = sorted({operation.tool for operation in operations})
        cut = len(operations) // 2
        operations = [
            each
            for half in (operations[:cut], operations[cut:])
            for each in (
                half if rng.random() < 0.5 else [o for tool in tools for o in half if o.tool == tool]
            )
        ]
    breaks = frozenset(i for i in range(len(operations)) if rng.random() < 0.08)
    return Churn(seed, subject, tuple(operations), breaks, rng.random() < 0.2, rng.random() < 0.5)


def shrunk(failing: Churn, fails: Callable[[Sequence[Churn]], list[bool]], rounds: int = 12) -> Churn:
    """A shorter sequence that fails as well: pieces are left out, several at a time."""
    pieces = 2
    for _ in range(rounds):
        operations = failing.operations
        size = -(-len(operations) // pieces)
        tries = [
            replace(failing, operations=operations[:i] + operations[i + size :], breaks=frozenset())
            for i in range(0, len(operations), size)
        ]
        better = [each for each, bad in zip(tries, fails(tries), strict=True) if bad]
        if better:
            failing = better[0]
            pieces = max(2, pieces - 1)
        elif size == 1:
            break
        else:
            pieces = min(2 * pieces, len(operations))
    return failing
