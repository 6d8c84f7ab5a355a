"""Records of the audit log as lines."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nlbus.cli.render.interface_names import InterfaceNames

Row = dict[str, Any]

HIDDEN = ("timestamp", "fields")  # unless all columns are shown


def _record(row: Row, _: InterfaceNames) -> Iterator[str]:
    yield f"{row.pop('type')} {row.pop('serial')}"


WORDS: Mapping[str, Callable[[Row, InterfaceNames], Iterator[str]]] = {"record": _record}
