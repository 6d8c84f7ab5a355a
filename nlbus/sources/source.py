"""A source: a named place to listen. Each source has a file beside this one."""

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
    """A setting of a listener to a source."""

    default: float
    lowest: float
    highest: float
    meaning: str  # with the unit


class Handshake(NamedTuple):
    """The requests on the listening socket that make the kernel send the events of a group.

    `join` and `leave` build a whole netlink message from the group, the options (join only) and a sequence
    number. `answer` returns the errno (positive) or 0 of the answer to the request with this sequence number,
    None for any other message. `silence` explains a missing answer. `narrow`, sent after `join`, makes newer
    kernels send the events of these tables only: it has no answer, and older kernels ignore it.
    """

    join: Callable[[int, Mapping[str, float], int], bytes]
    leave: Callable[[int, int], bytes]
    answer: Callable[[Reply, int], int | None]
    silence: str = ""
    narrow: Callable[[frozenset[str], int], bytes] | None = None


class Answers(NamedTuple):
    """The requests that decide on packets: those of a group wait in the kernel for the listener's verdict.

    packet: the type of the messages that carry a packet; their first attribute begins with the id, a be32.
    one, many: the types of the requests about one packet, and about all up to an id. header, mark, payload:
    attributes of these. pass_all builds the request that lets all packets pass that come from now on.
    counters: the file below /proc/net with a line per group: the group, the listener's portid, how many
    packets wait, two more numbers, how many were dropped because too many waited, how many because the
    listener's buffer was full.
    """

    packet: int
    one: int
    many: int
    header: int
    mark: int
    payload: int
    pass_all: Callable[[int], bytes]
    counters: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A protocol, its named groups, the framing of its datagrams, and its trusted senders.

    `framing`: "bus" = nlbus batches, "nlmsg" = chains of nlmsghdr, "datagram" = one opaque message each.
    `available` is None until `nlbus.sources()` has tried; `reason` then says why not.
    """

    name: str
    protocol: int
    kernel_name: str  # NETLINK_*
    framing: Framing
    groups: Mapping[str, int] = field(default_factory=dict, hash=False)  # in kernel order; may be empty
    default: Groups = _NO_GROUPS  # joined if no group is given; empty = groups must be given
    highest: int = ALL_GROUPS  # group number
    schemas: tuple[AnySchema, ...] = field(default=(), compare=False)
    # Groups 1..32 (a mask) on which processes may send as well: root is trusted and, with trust_self, our own
    # uid. On all others, and above 32, only the kernel (portid 0) is trusted.
    user_groups: int = 0
    trust_self: bool = False
    membership: bool = True  # groups are multicast groups; False: only the handshake joins them
    handshake: Handshake | None = None
    answers: Answers | None = None  # where packets wait for a verdict
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    sentinel: bool = False  # the kernel reports events that it could not build, by netlink_set_err()
    types: Mapping[int, str] = field(default_factory=dict, hash=False)  # nlmsg_type to the kernel's name
    # For `nlbus.sources()`: groups to join, and a harmless request (nlmsg_type, body), which the kernel calls
    # invalid if it lacks the source.
    probe: Groups = _UNUSED_GROUP
    ask: tuple[int, bytes] | None = None
    # A harmless request that the kernel answers only after whatever it was doing here when it was sent.
    barrier: tuple[int, bytes] | None = None
    privileged: bool = False  # an ordinary user may not join `probe`
    namespaces: tuple[str, ...] = ()  # heard only in the first namespace of these kinds: "net", "pid", "user"
    needs: str = ""  # the privilege that joining needs, a sentence
    option: str = ""  # the kernel option that enables the source
    module: str = ""  # the module with it
    family: str = ""  # of generic netlink: exists if nlbus's module with this source is loaded
    genl: str = ""  # the generic netlink family that sends these messages: see nlbus.sources.genl.bound
    note: str = ""  # reasons for silence, and other advice to listeners
    example: str = ""  # a command
    available: bool | None = None
    reason: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(schema.name for schema in self.schemas)

    def type_name(self, number: int) -> str | None:
        """The kernel's name of a message type, or None."""
        return self.types.get(number) or _CONTROL.get(number)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest known word, or nothing."""
    alike = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), alike, n=1)
    return f" (did you mean {alike[close[0]]!r}?)" if close else ""
