"""What a source is: a named place to listen. The sources themselves are one file each, beside this one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, NamedTuple

from nlbus.kernel.constants import MessageType
from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import Reply
from nlbus.schema.schema import AnySchema

Framing = Literal["bus", "nlmsg", "datagram"]

ALL_GROUPS = 0xFFFF_FFFF
NEEDS_ADMIN = "joining needs CAP_NET_ADMIN over this network namespace: run as root, or under `unshare -Urn`"
_NO_GROUPS = Groups()
_UNUSED_GROUP = Groups(32)  # by no subsystem of the kernel but route
_CONTROL = {kind.value: f"NLMSG_{kind.name}" for kind in MessageType if kind < MessageType.MIN_TYPE}


class Option(NamedTuple):
    """What can be set when listening to a source."""

    default: float
    lowest: float
    highest: float
    meaning: str  # with the unit


class Handshake(NamedTuple):
    """What the kernel wants to be told, on the socket that listens, before it sends events of a group.

    `join` and `leave` build a whole netlink message from the group, the options (join only) and a sequence
    number. `answer` gives the errno (positive) or 0 that a message tells about the request of this sequence
    number, None if it is not the answer. `silence` says why there may be none.
    """

    join: Callable[[int, Mapping[str, float], int], bytes]
    leave: Callable[[int, int], bytes]
    answer: Callable[[Reply, int], int | None]
    silence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A protocol, its named groups, how its datagrams are framed, and who is believed on it.

    `framing`: "bus" = nlbus batches, "nlmsg" = chains of nlmsghdr, "datagram" = one opaque message each.
    `available` is None until `nlbus.sources()` has tried; `reason` then says why not.
    """

    name: str
    protocol: int
    kernel_name: str  # NETLINK_*
    framing: Framing
    groups: Mapping[str, int] = field(default_factory=dict, hash=False)  # in kernel order; may be empty
    default: Groups = _NO_GROUPS  # joined when no group is asked for; empty = groups must be given
    highest: int = ALL_GROUPS  # group number
    schemas: tuple[AnySchema, ...] = field(default=(), compare=False)
    # Groups 1..32 (a mask) on which processes may send too, believed by uid: root, and with trust_self our
    # own. On all others, and above 32, only the kernel (portid 0) is believed.
    user_groups: int = 0
    trust_self: bool = False
    membership: bool = True  # groups are multicast groups; False: the handshake alone asks for them
    handshake: Handshake | None = None
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    sentinel: bool = False  # the kernel tells of events that it could not build, by netlink_set_err()
    types: Mapping[int, str] = field(default_factory=dict, hash=False)  # nlmsg_type to the kernel's name
    # What `nlbus.sources()` tries: groups to join, and a request that changes nothing (nlmsg_type, body),
    # which the kernel calls invalid where nobody answers it.
    probe: Groups = _UNUSED_GROUP
    ask: tuple[int, bytes] | None = None
    privileged: bool = False  # an ordinary user may not join `probe`
    namespaces: tuple[str, ...] = ()  # heard only in the first one of these kinds: "net", "pid", "user"
    needs: str = ""  # the privilege that joining takes, a sentence
    option: str = ""  # the kernel option that brings the source
    module: str = ""  # the module that it may be built as
    family: str = ""  # of generic netlink, which is there when a module of nlbus's makes the source's events
    note: str = ""  # why nothing may come though all is well, and what else a listener must know
    example: str = ""  # a command
    available: bool | None = None
    reason: str = ""

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables."""
        return tuple(schema.name for schema in self.schemas)

    def type_name(self, number: int) -> str | None:
        """The kernel's name of a message type, or None."""
        return self.types.get(number) or _CONTROL.get(number)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest known word, or nothing."""
    alike = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), alike, n=1)
    return f" (did you mean {alike[close[0]]!r}?)" if close else ""
