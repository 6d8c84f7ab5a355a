"""The table of sources: find one, resolve its groups, probe them all."""

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module

from nlbus.errors import NlbusError, SchemaError, UnknownSource, kernel_error
from nlbus.kernel.groups import Groups, listed
from nlbus.sources.bus import module_note, module_protocol
from nlbus.sources.genl import PREFIX as GENL_PREFIX
from nlbus.sources.genl import Family, bound, find_family, genl_source, genl_sources, required
from nlbus.sources.probe import absent, help_with, probe
from nlbus.sources.raw import PREFIX as RAW_PREFIX
from nlbus.sources.raw import raw_source, raw_sources
from nlbus.sources.source import Framing, Source, did_you_mean

__all__ = [
    "Framing",
    "GroupsLike",
    "Source",
    "did_you_mean",
    "family_of",
    "find",
    "group_names",
    "help_with",
    "located",
    "probed",
    "register",
    "required",
    "resolve_groups",
    "sources",
]


class _Sources(Mapping[str, Source]):
    """The named sources. Each is imported when it is used: its schemas take a while to build."""

    def __init__(self, *names: str) -> None:
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Source:
        if name not in self._names:
            raise KeyError(name)
        source: Source = getattr(import_module(f"{__name__}.{name}"), name.upper())
        return source

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


SOURCES: Mapping[str, Source] = _Sources(
    "bus",
    "route",
    "uevent",
    "proc",
    "conntrack",
    "nftables",
    "nflog",
    "nfqueue",
    "xfrm",
    "sock_diag",
    "audit",
    "packet",
)

_LOADED: dict[str, Source] = {}  # from outside of this package, as YNL specs: see `register`

GroupsLike = int | str | Groups | Iterable[int | str]


def find(name: str | Source) -> Source:
    """Return the source of this name: one of the table, `genl:<family>`, or `raw:<protocol number or name>`.

    A source stands for itself. Families are those of the caller's network namespace; looking one up may make
    the kernel load its module. UnknownSource, KernelError.
    """
    word = str(name)
    if isinstance(name, Source) or word in _LOADED:
        found = name if isinstance(name, Source) else _LOADED[word]
        return bound(found) if found.genl else found
    if word in SOURCES:
        return SOURCES[word]
    if word.startswith(RAW_PREFIX):
        return _typed(raw_source(word.removeprefix(RAW_PREFIX)))
    if word.startswith(GENL_PREFIX):
        return genl_source(word.removeprefix(GENL_PREFIX))
    every = (*SOURCES, *_LOADED)
    known = ", ".join(every)
    raise UnknownSource(
        f"no source {word!r}{did_you_mean(word, every)}: there are {known}, {GENL_PREFIX}<family> and "
        f"{RAW_PREFIX}<protocol>"
    )


def register(source: Source) -> None:
    """Make a source from outside of this package known by its name, to captures and command lines."""
    _LOADED[source.name] = source


def located(source: Source, action: str) -> Source:
    """Return the source with the protocol that its module has now; a source without a module as it is.

    KernelError if the module is missing; `action` begins its text. The kernel may load the module.
    """
    if not source.family:
        return required(source)
    family_of(source, action)
    return replace(source, protocol=module_protocol() or source.protocol)  # no /sys here


def family_of(source: Source, action: str) -> Family:
    """Return the generic netlink family of a source's module. KernelError, as of `located`."""
    try:
        found = find_family(source.family)
    except NlbusError:
        raise
    except OSError as error:
        raise kernel_error(error.errno or 0, action) from error
    if found is None:
        raise kernel_error(errno.EPROTONOSUPPORT, action, _not_loaded(source))
    return found


def _not_loaded(source: Source) -> str:
    return f"the module {source.module} is not loaded: `modprobe {source.module}`, after `make install-kmod`"


def resolve_groups(source: Source, groups: GroupsLike | None) -> Groups:
    """Return numbers, names or both as groups of the source, never empty; None means the source's default.

    UnknownSource for an unknown name; SchemaError for no group, or one above the source's highest.
    """
    if groups is None:
        if not source.default:
            raise SchemaError(f"{source.name} has no default groups: give them, as in groups=(1, 7)")
        return source.default
    members = (groups,) if isinstance(groups, str) else listed(groups)
    if "0" in source.groups and any(member == 0 and not isinstance(member, bool) for member in members):
        raise SchemaError(f'group 0 of {source.name} goes by its name, as in groups="0": numbers are from 1')
    found = Groups(*(_named(source, member) if isinstance(member, str) else member for member in members))
    if not found:
        raise SchemaError(f"no groups of {source.name} given: an empty set hears nothing")
    if max(found) > source.highest:
        raise SchemaError(f"no group {max(found)} on {source.name}: its groups are 1 to {source.highest}")
    return found


def group_names(source: Source, groups: Iterable[int]) -> tuple[str, ...]:
    """Return the names of groups on this source; the number as text for a group without a name."""
    names = {number: name for name, number in source.groups.items()}
    return tuple(names.get(number, str(number)) for number in groups)


def sources() -> list[Source]:
    """Probe what can be heard here: the named sources, then generic netlink families, then raw protocols.

    `genl:` stands for each family that has groups, `raw:` for each protocol that the kernel answers to.
    Opens and closes sockets, which may make the kernel load a protocol's module; changes nothing else.
    """
    named = [probed(source) for source in SOURCES.values()]
    others = genl_sources() + [_typed(source) for source in raw_sources()]
    return named + [source for source in map(probe, others) if source is not None]


def probed(source: Source) -> Source:
    """Return the source with `available` and `reason` filled in."""
    if source.name == "bus":
        source = replace(source, note=module_note())
    try:
        if source.family and find_family(source.family) is None:
            return replace(source, available=False, reason=_not_loaded(source))
        source = located(source, f"looking for {source.name}")
    except OSError as error:
        return replace(source, available=False, reason=str(error.strerror))
    return probe(source) or absent(source)


def _typed(raw: Source) -> Source:
    """The source with the names of message types that other sources of its protocol have."""
    types = {
        number: name
        for source in SOURCES.values()
        if source.protocol == raw.protocol
        for number, name in source.types.items()
    }
    return replace(raw, types=types)


def _named(source: Source, name: str) -> int:
    word = name.strip()
    if word in source.groups:
        return source.groups[word]
    alike = {_plain(known): number for known, number in source.groups.items()}
    if (plain := _plain(word)) in alike:
        return alike[plain]
    if word.isascii() and word.isdigit():
        return int(word[:20])
    if not source.groups:
        raise UnknownSource(f"no group {name!r} on {source.name}: its groups have numbers only")
    known = ", ".join(source.groups)
    hint = did_you_mean(word, source.groups)
    raise UnknownSource(f"no group {name!r} on {source.name}{hint}: a number, or one of {known}")


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
