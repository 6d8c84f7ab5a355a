"""Commands after which the kernel's messages alone do not say what it has: State says it."""

from tests.support.operations.kinds import Operation
from tests.support.operations.sequences import Churn
from tests.support.operations.trial import run

COMMANDS = {
    "an IPv4 route is replaced": (
        "ip route add 10.9.0.0/24 via 10.0.0.2",
        "ip route replace 10.9.0.0/24 via 10.0.0.3",
    ),
    "a replaced IPv4 route is deleted": (
        "ip route add 10.9.0.0/24 via 10.0.0.2",
        "ip route replace 10.9.0.0/24 via 10.0.0.3",
        "ip route del 10.9.0.0/24",
    ),
    "an IPv6 route is replaced": (
        "ip_-6 route add fd09::/64 via fd00::2",
        "ip_-6 route replace fd09::/64 via fd00::3",
    ),
    "an IPv6 path becomes multipath": (
        "ip_-6 route add fd09::/64 via fd00::2",
        "ip_-6 route append fd09::/64 via fd01::2",
    ),
    "one of two IPv6 hops is deleted": (
        "ip_-6 route add fd09::/64 nexthop via fd00::2 nexthop via fd01::2",
        "ip_-6 route del fd09::/64 via fd00::2",
    ),
    "a link goes down": (
        "ip nexthop add id 1 via 10.0.0.2 dev v0",
        "ip nexthop add id 10 group 1",
        "ip route add 10.9.0.0/24 nhid 10",
        "ip route add 10.9.1.0/24 via 10.0.0.2",
        "ip link set v0 down",
    ),
    "a link goes away": (
        "ip route add 10.9.1.0/24 via 10.0.0.2",
        "tc qdisc add dev v0 clsact",
        "ip link del v0",
    ),
    "the last address of a link goes": (
        "ip route add 10.9.0.0/24 dev v0 table 100",
        "ip addr del 10.0.0.1/24 dev v0",
    ),
    "the last address of a link expires": (
        "ip addr add 10.5.0.1/24 dev v0 valid_lft 1 preferred_lft 1",
        "ip addr del 10.0.0.1/24 dev v0",
        "ip route add 10.9.0.0/24 dev v0 table 100",
    ),
    "a port gets the address that its bridge has from it": (
        "ip link add br0 type bridge",
        "ip link set br0 up",
        "ip link set v3 master br0",
        "ip link set v3 address 02:00:00:00:00:02",
        "ip link set v3 address 02:00:00:00:00:02",
    ),
    "the queueing discipline of a link is replaced": (
        "tc qdisc add dev v0 root handle 1: htb",
        "tc qdisc replace dev v0 root handle 2: pfifo",
    ),
    "an address goes that a route names": (
        "ip route add 10.9.0.0/24 via 10.0.1.2 src 10.0.0.1",
        "ip addr del 10.0.0.1/24 dev v0",
    ),
    "a next hop object is replaced": (
        "ip nexthop add id 1 via 10.0.0.2 dev v0",
        "ip route add 10.9.0.0/24 nhid 1",
        "ip nexthop replace id 1 via 10.0.1.2 dev v2",
    ),
    "a next hop object goes": (
        "ip nexthop add id 1 via 10.0.0.2 dev v0",
        "ip route add 10.9.0.0/24 nhid 1",
        "ip nexthop del id 1",
    ),
    "forwarding is switched on": ("sysctl net.ipv4.conf.v0.forwarding=1",),
    "rules differ in the end of a range": (
        "ip rule add pref 100 dport 10-20 lookup 100",
        "ip rule add pref 100 dport 10-21 lookup 100",
    ),
    "rules differ in what they suppress": (
        "ip rule add pref 100 lookup main suppress_prefixlength 1",
        "ip rule add pref 100 lookup main suppress_prefixlength 2",
    ),
    "routes differ in their source": (
        "ip addr add 10.0.0.7/24 dev v0",
        "ip route append 10.9.0.0/24 via 10.0.0.2 src 10.0.0.1",
        "ip route append 10.9.0.0/24 via 10.0.0.2 src 10.0.0.7",
    ),
    "an address moves to another port": (
        "ip link add br0 type bridge",
        "ip link set v1 master br0",
        "ip link set v3 master br0",
        "bridge fdb add 02:00:00:00:00:01 dev v1 master static",
        "bridge fdb replace 02:00:00:00:00:01 dev v3 master static",
    ),
    "a port leaves with its own address": (
        "ip link add br0 type bridge",
        "ip link set v1 master br0",
        "ip link set v1 nomaster",
    ),
    "a message has another scope than a dump": ("sysctl net.ipv6.conf.all.forwarding=1",),
}


def test_state_says_what_the_kernel_has_after_each() -> None:
    trials = run(
        [
            Churn(
                number,
                name,
                tuple(
                    Operation(name, command.split(" ", 1)[0].replace("_", " "), command.split(" ", 1)[1])
                    for command in commands
                ),
                frozenset(range(len(commands))),
                small=False,
                late=True,
            )
            for number, (name, commands) in enumerate(COMMANDS.items())
        ]
    )
    for trial in trials:
        commands = COMMANDS[trial.sequence.subject]
        assert trial.succeeded[trial.sequence.subject] == len(commands), f"{trial.sequence.subject}: failed"
        assert not trial.found, f"{trial.sequence.script()}\n" + "\n".join(map(str, trial.found))
