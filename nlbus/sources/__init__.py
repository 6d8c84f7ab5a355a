"""Floor 3: the table of sources, and what can be asked of it."""

from collections.abc import Iterable

from nlbus.errors import SchemaError, UnknownSource
from nlbus.groups import MASK_GROUPS, Groups, listed
from nlbus.sources.bus import BUS
from nlbus.sources.probe import absent, probe
from nlbus.sources.raw import PREFIX as RAW_PREFIX
from nlbus.sources.raw import raw_source, raw_sources
from nlbus.sources.route import ROUTE
from nlbus.sources.source import Framing, Source, did_you_mean
from nlbus.sources.uevent import UEVENT

__all__ = [
    "Framing",
    "GroupsLike",
    "Source",
    "did_you_mean",
    "find",
    "group_names",
    "resolve_groups",
    "sources",
]

SOURCES = {source.name: source for source in (BUS, ROUTE, UEVENT)}

GroupsLike = int | str | Groups | Iterable[int | str]


def find(name: str) -> Source:
    """Return the source of this name: one of the table, or `raw:<protocol number or name>`."""
    word = str(name)
    if word in SOURCES:
        return SOURCES[word]
    if word.startswith(RAW_PREFIX):
        return raw_source(word.removeprefix(RAW_PREFIX))
    known = ", ".join(SOURCES)
    raise UnknownSource(
        f"no source {word!r}{did_you_mean(word, SOURCES)}: there are {known} and {RAW_PREFIX}<protocol>"
    )


def resolve_groups(source: Source, groups: GroupsLike | None) -> Groups:
    """Return numbers, names (or a mixture) as the source's groups, never empty; None is the source's default.

    A name the source lacks is UnknownSource; no group at all, or one above 32 on the bus, is SchemaError.
    """
    if groups is None:
        if not source.default:
            raise SchemaError(f"{source.name} has no default groups: give them, as in groups=(1, 7)")
        return source.default
    members = (groups,) if isinstance(groups, str) else listed(groups)
    found = Groups(*(_named(source, member) if isinstance(member, str) else member for member in members))
    if not found:
        raise SchemaError(f"no groups of {source.name} given: an empty set hears nothing")
    highest = max(found)
    if source.framing == "bus" and highest > MASK_GROUPS:
        raise SchemaError(f"no group {highest} on {source.name}: its groups are 1 to {MASK_GROUPS}")
    return found


def group_names(source: Source, groups: Iterable[int]) -> tuple[str, ...]:
    """Return the groups' names on this source, the number as text where there is none."""
    names = {number: name for name, number in source.groups.items()}
    return tuple(names.get(number, str(number)) for number in groups)


def sources() -> list[Source]:
    """Try what can be heard here: bus, route, uevent, then `raw:` for each protocol the kernel answers to.

    Opens and closes one socket a protocol, which may make the kernel load the protocol's module.
    """
    named = [probe(source) or absent(source) for source in SOURCES.values()]
    return named + [raw for raw in map(probe, raw_sources()) if raw is not None]


def _named(source: Source, name: str) -> int:
    word = name.strip().lower().replace("-", "_")
    if word in source.groups:
        return source.groups[word]
    if word.isascii() and word.isdigit():
        return int(word[:20])
    if not source.groups:
        raise UnknownSource(f"no group {name!r} on {source.name}: its groups have numbers only")
    known = ", ".join(source.groups)
    hint = did_you_mean(word, source.groups)
    raise UnknownSource(f"no group {name!r} on {source.name}{hint}: a number, or one of {known}")
