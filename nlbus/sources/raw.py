"""raw:<protocol>: the raw messages of any netlink protocol, its groups by number."""

from typing import NamedTuple

from nlbus.errors import UnknownSource
from nlbus.kernel.groups import Groups
from nlbus.sources.source import ALL_GROUPS, NEEDS_ADMIN, Source, did_you_mean

PREFIX = "raw:"
MAX_LINKS = 32  # the kernel's bound on protocol numbers
REPORT_ERRORS = (0, 12, 16)  # route, netfilter, generic: they call netlink_set_err()

_AUDIT = "joining needs CAP_AUDIT_READ in the first user namespace: run as root"
_ANYONE = "no privilege"


class Protocol(NamedTuple):
    """The facts about one NETLINK_* number."""

    name: str  # of <linux/netlink.h>, lower case
    option: str = ""
    needs: str = NEEDS_ADMIN
    # Joining may load a module or change what the kernel does (XFRM acquire, conntrack events, socket
    # destruction): an unused group needs the same privilege and changes nothing.
    probe: int = 32


PROTOCOLS: dict[int, Protocol] = {
    0: Protocol("route", "CONFIG_NET", _ANYONE),
    1: Protocol("unused"),
    2: Protocol("usersock", "CONFIG_NET"),
    3: Protocol("firewall"),
    4: Protocol("sock_diag", "CONFIG_NET", _ANYONE),
    5: Protocol("nflog"),
    6: Protocol("xfrm", "CONFIG_XFRM_USER"),
    7: Protocol("selinux", "CONFIG_SECURITY_SELINUX", _ANYONE),
    8: Protocol("iscsi", "CONFIG_SCSI_ISCSI_ATTRS"),
    9: Protocol("audit", "CONFIG_AUDIT", _AUDIT),
    10: Protocol("fib_lookup", "CONFIG_INET"),
    11: Protocol(
        "connector",
        "CONFIG_CONNECTOR",
        "group 1 (process events) needs CAP_NET_ADMIN before Linux 6.6, other groups always: run as root",
        probe=1,
    ),
    12: Protocol("netfilter", "CONFIG_NETFILTER_NETLINK"),
    13: Protocol("ip6_fw"),
    14: Protocol("dnrtmsg"),
    15: Protocol("kobject_uevent", "CONFIG_NET", _ANYONE),
    16: Protocol("generic", "CONFIG_NET", "no privilege, but some families' groups need CAP_NET_ADMIN", 16),
    18: Protocol("scsitransport", "CONFIG_SCSI_NETLINK"),
    19: Protocol("ecryptfs"),
    20: Protocol("rdma", "CONFIG_INFINIBAND"),
    21: Protocol("crypto", "CONFIG_CRYPTO_USER"),
    22: Protocol("smc"),
}

NUMBERS = {protocol.name: number for number, protocol in PROTOCOLS.items()} | {"inet_diag": 4}


def raw_source(protocol: str) -> Source:
    """Return the source `raw:<protocol>` for a number from 0 to 31 or a name such as "usersock"."""
    word = protocol.lower().removeprefix("netlink_")
    if word.isascii() and word.isdigit():
        number = int(word) if len(word) < 10 else MAX_LINKS
    elif word in NUMBERS:
        number = NUMBERS[word]
    else:
        known = ", ".join(NUMBERS)
        raise UnknownSource(
            f"no netlink protocol {protocol!r}{did_you_mean(word, NUMBERS)}: give a number or one of {known}"
        )
    if number >= MAX_LINKS:
        raise UnknownSource(f"no netlink protocol {protocol}: they are numbered from 0 to {MAX_LINKS - 1}")
    known_as = PROTOCOLS.get(number, Protocol(f"protocol_{number}"))
    return Source(
        name=f"{PREFIX}{word}",
        protocol=number,
        kernel_name=f"NETLINK_{known_as.name.upper()}",
        framing="nlmsg",
        user_groups=ALL_GROUPS,
        trust_self=True,
        sentinel=number in REPORT_ERRORS,
        probe=Groups(known_as.probe),
        privileged=not known_as.needs.startswith(_ANYONE),
        needs=known_as.needs,
        option=known_as.option,
    )


def raw_sources() -> list[Source]:
    """Return one source for every protocol number, by name where it has one."""
    return [raw_source(PROTOCOLS[n].name if n in PROTOCOLS else str(n)) for n in range(MAX_LINKS)]
