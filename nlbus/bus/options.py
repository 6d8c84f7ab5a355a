"""Options of a subscriber, checked: groups, trust, buffers, and those of the source."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from nlbus._core.block import HEADER_BYTES
from nlbus._core.receive.scatter import MAX_TRUSTED
from nlbus.errors import SchemaError
from nlbus.kernel.arguments import integer, whole
from nlbus.kernel.groups import Groups
from nlbus.kernel.procfs import all_uids_are_mapped, overflow_uid
from nlbus.kernel.truesize import truesize
from nlbus.schema.topic import Topic
from nlbus.sources import GroupsLike, Source, did_you_mean, resolve_groups
from nlbus.table.query import Query

DEFAULT_BUFFER = 64 << 20  # of truesize; the kernel allocates it only as it fills
GROWN_BUFFER = 256 << 20  # the default doubles up to this after overruns
MAX_BUFFER = 0x7FFF_F000
NO_UID = 0xFFFF_FFFF  # (uid_t) -1
DEFAULT_EVENT_BYTES = 64

Trust = Literal["any"] | Iterable[int] | None


class Buffer(NamedTuple):
    """A socket's receive buffer in bytes of truesize, what it may grow to, and the events it is made for."""

    size: int
    limit: int
    event_bytes: int


def chosen_groups(
    source: Source, groups: GroupsLike | None, topics: Sequence[Topic], query: Query | None
) -> Groups:
    """The groups to join: those given and the topics', else those of the query's tables or the default."""
    if topics and source.framing != "bus":
        raise SchemaError(f"topics are of the bus, not of {source.name}")
    wanted = Groups(*(group for topic in topics for group in topic.groups))
    if groups is None and query is not None:
        groups = query.groups
    if groups is None and wanted:
        return wanted
    return wanted | resolve_groups(source, groups)


def buffer_of(source: Source, topics: Sequence[Topic], events: int | None) -> Buffer:
    """The buffer for so many single events of the topics' size; None: the default, which may grow."""
    size = max((topic.dtype.itemsize for topic in topics), default=DEFAULT_EVENT_BYTES)
    return buffer_sizes(events, size + (HEADER_BYTES if source.framing == "bus" else 0))


def buffer_sizes(events: int | None, event_bytes: int) -> Buffer:
    """The buffer for so many single events of this size; None: the default, which may grow."""
    if events is None:
        return Buffer(DEFAULT_BUFFER, GROWN_BUFFER, event_bytes)
    events = whole(events, "buffer_events", 1, MAX_BUFFER)
    # One more: the kernel refuses a datagram that would fill the buffer exactly.
    size = min((events + 1) * truesize(event_bytes), MAX_BUFFER)
    return Buffer(size, size, event_bytes)


def trusted(source: Source, trust: Trust) -> frozenset[int] | None:
    """The uids whose messages are believed; None: any.

    By default root and our own uid. The kernel shows every sender whose uid is not mapped into this user
    namespace as nobody. Where such senders may exist, nobody is not believed by default, even if we are
    nobody.
    """
    if trust == "any":
        return None
    if trust is not None:
        if isinstance(trust, str):
            raise SchemaError(f"trust={trust!r}: uids, or 'any'")
        uids = frozenset(integer(uid, "a uid of trust") for uid in trust)
        if len(uids) > MAX_TRUSTED or any(not 0 <= uid < NO_UID for uid in uids):
            raise SchemaError(f"trust={sorted(uids)}: at most {MAX_TRUSTED} uids, each of 32 bits")
        return uids
    own = frozenset({0, os.getuid()} if source.trust_self else {0})
    return own - {nobody} if (nobody := overflow_uid()) in own and not all_uids_are_mapped() else own


def option_values(source: Source, options: Mapping[str, float] | None) -> dict[str, float]:
    """The source's options: the given ones, and the defaults of the others."""
    values = {name: option.default for name, option in source.options.items()}
    for name, value in (options or {}).items():
        if name not in source.options:
            known = ", ".join(source.options) or "none"
            hint = did_you_mean(name, source.options)
            raise SchemaError(f"no option {name!r} of {source.name}{hint}: there are {known}")
        option = source.options[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SchemaError(f"option {name}={value!r} of {source.name}: a number ({option.meaning})")
        if not option.lowest <= value <= option.highest:
            raise SchemaError(
                f"option {name}={value} of {source.name}: from {option.lowest:g} to {option.highest:g} "
                f"({option.meaning})"
            )
        values[name] = value
    return values
