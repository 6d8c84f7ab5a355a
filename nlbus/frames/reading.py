"""Reading a table again and again: from a snapshot, events of some seconds, a feed or a capture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbus.bus.snapshot import snapshot
from nlbus.bus.stream import ArrowStream, Feed
from nlbus.bus.subscriber import Subscriber
from nlbus.capture.reader import open_capture
from nlbus.errors import SchemaError
from nlbus.kernel import arguments
from nlbus.kernel.netns import Netns
from nlbus.schema.topic import Topic
from nlbus.sources import Source, find
from nlbus.table.conditions import parse
from nlbus.table.expressions import Expression, expression
from nlbus.table.query import Query
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus.bus.batch import Batch

CAPTURES = (".pcapng", ".pcap", ".gz")
HERE = "/proc/thread-self/ns/net"


class Watch:
    """Hears what a reading does."""

    def listening(self, how: str) -> None:
        """A Subscriber was opened, which explains itself so."""

    def note(self, table: Table, messages: int) -> None:
        """These rows were made of so many messages."""


class Reading:
    """A table of a source, a capture file or a Feed, which `tables` reads anew each time.

    seconds: listen for so long; None: the current objects (a Feed: to its end). A condition in words is one
    too. Engines read in threads of their own: the network namespace is that of the thread that made this.
    """

    def __init__(
        self,
        source: str | Source | os.PathLike[str] | Feed,
        table: str | Topic | None = None,
        *,
        where: Expression | str | None = None,
        seconds: float | None = None,
        netns: Netns = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(source, Source):
            source = source.name
        self._of = source
        self._seconds = arguments.optional_seconds(seconds, "seconds")
        self.where = parse(where) if isinstance(where, str) else where
        self._options = dict(options or {})
        self._home = None
        self._file: Path | None = None
        if isinstance(source, Feed):
            known = source.source
        elif _is_file(source):
            self._file = Path(source)
            with open_capture(self._file) as capture:
                known = capture.source
        else:
            known = find(os.fspath(source))
            self._home = _Home() if netns is None else None
        if known is None:
            raise SchemaError(f"{self._file or 'a feed'}: its source is unknown, and so are its tables")
        self.source = known
        self._netns = netns
        tables = source.tables if isinstance(source, Feed) else known.tables
        self.table = _only(known.name, tables) if table is None else table
        self._query(None, self.where)  # finds every mistake
        if self._file is None and not isinstance(source, Feed) and seconds is None:
            self._check_dumpable()
        if where is not None and isinstance(self.table, Topic):
            raise SchemaError(f"where= of topic {self.table.name}: filter the frame")

    def _check_dumpable(self) -> None:
        if isinstance(self.table, Topic) or Query(self.source).schema(self.table).dump is None:
            name = self.table.name if isinstance(self.table, Topic) else self.table
            raise SchemaError(f"{self.source.name} {name} is not dumpable: seconds= listens to it")

    def _query(self, columns: Iterable[str] | None, where: Expression | None) -> Query:
        where = None if where is None else expression(where, "where=")
        if isinstance(self.table, Topic):
            return Query(self.source)
        return Query(self.source, {self.table: columns}, where)

    def empty(self, columns: Iterable[str] | None = None) -> Table:
        """The table without rows, with these columns, None for all. SchemaError for an unknown one."""
        if isinstance(self._of, Feed) and columns is None:
            return self._of.empty(self.table)
        return self._query(columns, None).empty(self.table)

    @property
    def pushes(self) -> bool:
        """Whether columns and conditions reach the decoder, and the kernel as far as it can."""
        return not isinstance(self.table, Topic)

    def describe(self) -> str:
        """What is read, in a line."""
        name = self.table.name if isinstance(self.table, Topic) else self.table
        what = f"{self.source.name} {name}"
        if self._file is not None:
            return f"{what} of {self._file}"
        for_seconds = "" if self._seconds is None else f" for {self._seconds:g} s"
        if isinstance(self._of, Feed):
            return f"{what} of {self._of!r}{for_seconds}"
        return f"snapshot of {what}" if self._seconds is None else f"{what}{for_seconds}"

    def tables(
        self,
        columns: Iterable[str] | None = None,
        where: Expression | None = None,
        limit: int | None = None,
        watch: Watch | None = None,
    ) -> Iterator[Table]:
        """The rows, with these columns at least, for which `where` is true, at most so many.

        What snapshot, Subscriber, open_capture and recv raise.
        """
        watch = watch or Watch()
        if columns is None and isinstance(self._of, Feed):
            columns = [column.name for column in self.empty().columns]  # a Subscriber may decode few
        names = None if columns is None else [name for name in columns if not name.startswith("nl_")]
        both = self.where if where is None or self.where is None else self.where & where
        both = where if both is None else both
        if isinstance(self._of, Feed):
            yield from self._stream(self._of, names, both, limit, watch)
        elif self._file is not None:
            with open_capture(self._file, on_loss="ignore") as capture:
                yield from self._stream(capture, names, both, limit, watch)
        elif self._seconds is None:
            assert isinstance(self.table, str)
            found = snapshot(
                self.source.name, self.table, where=both, columns=names, netns=self._place(), **self._options
            )
            watch.note(found, len(found))
            yield found if limit is None else found.head(limit)
        else:
            yield from self._listen(names, both, limit, watch)

    def _listen(
        self, names: list[str] | None, where: Expression | None, limit: int | None, watch: Watch
    ) -> Iterator[Table]:
        chosen: dict[str, Any]
        if isinstance(self.table, Topic):
            chosen = {"topics": [self.table]}
        else:
            chosen = {"tables": {self.table: names}, "where": where}
        with Subscriber(self.source.name, netns=self._place(), **chosen, **self._options) as sub:
            watch.listening(sub.explain())
            yield from self._stream(sub, names, where, limit, watch)

    def _stream(
        self, feed: Feed, names: list[str] | None, where: Expression | None, limit: int | None, watch: Watch
    ) -> Iterator[Table]:
        if feed.where is not None:
            where = feed.where if where is None else feed.where & where
        query = self._query(names, where)

        def read(batch: Batch) -> Table:
            found = query.table(batch, self.table)
            watch.note(found, len(batch))
            return found

        yield from ArrowStream(feed, read, self.empty(names), self._seconds, limit).tables()

    def _place(self) -> Netns:
        return self._netns if self._home is None else self._home.elsewhere


class _Home:
    """The network namespace of the thread that makes this."""

    def __init__(self) -> None:
        self._descriptor = -1
        with suppress(OSError):  # without /proc, threads are not told apart
            self._descriptor = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def elsewhere(self) -> int | None:
        """A descriptor of it; None in a thread that is there: entering it would take a privilege."""
        if self._descriptor < 0 or os.path.samestat(os.fstat(self._descriptor), Path(HERE).stat()):
            return None
        return self._descriptor

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _is_file(source: str | os.PathLike[str]) -> bool:
    return not isinstance(source, str) or "/" in source or source.endswith(CAPTURES)


def _only(source: str, tables: Iterable[str]) -> str:
    names = list(tables)
    if len(names) == 1:
        return names[0]
    raise SchemaError(f"which table of {source}? one of {', '.join(names) or 'none'}")
