"""The sources of a capture's packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from nlbus._core.block import FRAMINGS
from nlbus._text import escape
from nlbus.errors import NlbusError
from nlbus.sources import SOURCES, find
from nlbus.sources.genl import PREFIX as GENL_PREFIX
from nlbus.sources.genl import recorded, recorded_source
from nlbus.sources.raw import MAX_LINKS, PREFIX, raw_sources

if TYPE_CHECKING:
    from nlbus._core.capture.scan import Scanner
    from nlbus.sources import Source

# In place of a source's number, as in the scanner:
BY_PROTOCOL = -1
SKIPPED = -2
MAX_UNKNOWN = 64  # names looked up at most: a hostile file may have any number
MAX_DIGITS = 5  # of a family's number
MAX_GROUP_NAMES = 256  # per source, likewise


class Sources:
    """The sources in a capture, with the scanner's numbers; only `name`, if given.

    UnknownSource.
    """

    def __init__(self, scan: Scanner, name: str | None) -> None:
        self._scan = scan
        self._found: list[Source] = []
        self._numbers: dict[str, int] = {}
        self._unknown: set[str] = set()
        self._defaults = [self._number(source) for source in _default_sources()]  # by protocol
        self.only = None if name is None else self._number(_recorded(name))
        for protocol in range(MAX_LINKS):
            if self.only is None:
                scan.of_protocol(protocol, self._defaults[protocol])
            elif self[self.only].protocol == protocol:
                scan.of_protocol(protocol, self.only)

    def __getitem__(self, number: int) -> Source:
        return self._found[number]

    @property
    def route(self) -> int:
        """The number of route, for packets without a protocol."""
        return self._defaults[0]

    def of_note(self, comment: Mapping[str, str]) -> int:
        """The number of the source in a comment of nlbus, or SKIPPED."""
        name, protocol = comment.get("source", ""), comment.get("protocol", "")
        if self.only is not None:
            only = self[self.only]
            same = name == only.name or only.name.startswith(PREFIX)
            return self.only if same and (only.family or protocol == str(only.protocol)) else SKIPPED
        source = self._find(name)
        if source is not None and (source.family or str(source.protocol) == protocol):
            return self._number(source)
        return self._defaults[int(protocol)] if protocol in map(str, range(MAX_LINKS)) else SKIPPED

    def number_family(self, number: int, comment: Mapping[str, str]) -> bool:
        """Learn the number that a source's family had where it was recorded; False: nothing new."""
        source, family = self[number], comment.get("family", "")
        if not source.genl or comment.get("source") != source.name:
            return False
        if not family.isascii() or not family.isdigit() or len(family) > MAX_DIGITS:
            return False
        self._found[number] = recorded(source, int(family))
        return self[number] is not source

    def name_group(self, number: int, group: int, interface: str, portid: int) -> bool:
        """Learn the name of a family's group from its interface (pcapng.interface); False: nothing new."""
        source = self[number]
        prefix = f"{source.name}:"
        if not group or not source.name.startswith(GENL_PREFIX) or not interface.startswith(prefix):
            return False
        name = escape(interface.removeprefix(prefix).removesuffix(f"/{portid}" if portid else ""))
        known = group in source.groups.values() or name in source.groups or name == str(group)
        if known or not name or len(source.groups) == MAX_GROUP_NAMES:
            return False
        self._found[number] = replace(source, groups={**source.groups, name: group})
        return True

    def _find(self, name: str) -> Source | None:
        """The source of this name; None if only a newer nlbus knows it."""
        if name in self._numbers:
            return self[self._numbers[name]]
        if name not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
            try:
                return _recorded(name)
            except NlbusError:
                self._unknown.add(name)
        return None

    def _number(self, source: Source) -> int:
        if source.name not in self._numbers:
            number = self._scan.add_source(FRAMINGS.index(source.framing), not source.user_groups)
            if number is None:  # the scanner has no room for more
                return self._defaults[source.protocol]
            self._found.append(source)
            self._numbers[source.name] = number
        return self._numbers[source.name]


def _recorded(name: str) -> Source:
    """The source of this name, without a request to the kernel: the capture may be of another machine."""
    if name.startswith(GENL_PREFIX):
        return recorded_source(name.removeprefix(GENL_PREFIX))
    return find(name)


def _default_sources() -> list[Source]:
    """Per protocol: its only source, or its raw source if several share it."""
    found = raw_sources()
    for protocol in range(MAX_LINKS):
        # A source of a family shares its protocol with other publishers.
        named = [source for source in SOURCES.values() if source.protocol == protocol and not source.family]
        if len(named) == 1:
            found[protocol] = named[0]
    return found
