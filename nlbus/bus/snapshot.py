"""Snapshots: the current objects of a table, as a table, or as batches before the live ones."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import count, islice
from threading import Event
from time import time_ns
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from nlbus._core.block import FRAMINGS
from nlbus._core.columns.blocks import from_datagrams
from nlbus._core.receive.receiver import Receiver
from nlbus._core.receive.socket import Socket
from nlbus.bus.batch import Batch
from nlbus.bus.pipeline import pipelined
from nlbus.errors import KernelError, NlbusError, PermissionDenied, SchemaError, kernel_error
from nlbus.kernel.constants import GetFlag, MessageFlag, MessageType
from nlbus.kernel.groups import Groups
from nlbus.kernel.interfaces import LiveInterfaces
from nlbus.kernel.netns import Netns, inside
from nlbus.kernel.requests import Reply, attribute, message, refusal
from nlbus.schema.schema import Dump, Filter
from nlbus.sources import Source, find, required
from nlbus.table.loss import Loss
from nlbus.table.query import Query
from nlbus.table.received import RESYNC, SNAPSHOT
from nlbus.table.table import Table

if TYPE_CHECKING:
    from nlbus.table.expressions import Expression

BUFFER = 1 << 20  # a small one does: a dump waits for its reader
CHUNK = 32 << 10  # bytes of a datagram, which the kernel fills if it can
MEMORY = 256 << 20
PATIENCE = 10.0  # seconds until a dump counts as stuck
RETRIES = 16  # of a dump that changes while it is read
TOO_LARGE = "an object of it is larger than a datagram may be: ask for less with where="
MANY = 4096  # datagrams per batch, where they do not come from a dump

_numbers = count(1)

T = TypeVar("T")


def snapshot(
    source: str | Source,
    table: str,
    *,
    where: Expression | None = None,
    columns: Iterable[str] | None = None,
    netns: Netns = None,
) -> Table:
    """The current rows of a table: routes, links, connections, processes, devices.

    where: only rows for which this expression of `field` is true; where the kernel can filter, it sends no
    others. columns: only these, None for all. netns: as of a Subscriber. A dump that changed while it was
    read is read again. nl_origin is "snapshot", nl_time the time of receipt.

    UnknownSource, SchemaError (also for a table that cannot be dumped), PermissionDenied, KernelError.
    """
    names = LiveInterfaces(netns, follow=False)
    return inside(netns, lambda: _snapshot(source, table, where, columns, names))


def _snapshot(
    source: str | Source,
    table: str,
    where: Expression | None,
    columns: Iterable[str] | None,
    names: LiveInterfaces,
) -> Table:
    query = Query(required(find(source)), {table: columns}, where, names)

    def read(batch: Batch) -> Table:
        if query.asks_facts:
            query.read_facts(batch)
        return query.table(batch, table)

    def decoded(batches: Iterable[Batch]) -> list[Table]:
        return pipelined(read, batches)

    found = Table.concat([query.empty(table), *_all(query, table, SNAPSHOT, decoded, lean=True)])
    return _once(found, query, table)


def _once(found: Table, query: Query, table: str) -> Table:
    """The table without objects that the kernel listed a second time."""
    dump = query.schema(table).dump
    column = dump.repeats if isinstance(dump, Dump) else ""
    if not column or column not in {each.name for each in found.columns}:
        return found
    first = np.zeros(len(found), np.bool_)
    first[np.unique(found[column], return_index=True)[1]] = True
    return found if first.all() else found.filter(first)


class Snapshots:
    """The current objects of a subscriber's tables, as batches.

    tables: their names; none: every table that can be dumped and whose messages these groups carry, with
    `keyed` only those whose rows have a key.
    SchemaError.
    """

    def __init__(
        self, query: Query, tables: Iterable[str], groups: Groups, netns: Netns, *, keyed: bool = False
    ) -> None:
        source = query.source
        heard = {name for name, number in source.groups.items() if number in groups}
        schemas = [query.schema(name) for name in query.tables]
        self._tables = list(tables) or [
            schema.name
            for schema in schemas
            if schema.dump and heard.intersection(schema.groups) and (schema.key or not keyed)
        ]
        self._query = query
        self._netns = netns
        for name in self._tables:
            _dump_of(query, name)
        if not self._tables:
            raise SchemaError(f"no snapshot of {source.name}: no table of these groups is dumpable")

    @classmethod
    def wanted(
        cls,
        snapshot: bool | Iterable[str],
        query: Query,
        chosen: bool,
        groups: Groups,
        netns: Netns,
        all_nsid: bool,
        keyed: bool = False,
    ) -> Snapshots | None:
        """Those of Subscriber(snapshot=...), None for none; `chosen`: tables= named the query's tables."""
        if not snapshot:
            return None
        if all_nsid:
            raise SchemaError("snapshot= cannot be combined with all_nsid=: a dump covers one namespace")
        if isinstance(snapshot, bool):
            snapshot = query.tables if chosen else ()
        return cls(query, snapshot, groups, netns, keyed=keyed)

    def take(self, resync: bool, *, every: bool = False) -> list[Batch]:
        """The current objects, the last batch `complete`; at least one batch. The errors of `snapshot`.

        every: also those that `where` leaves out.
        """
        origin = RESYNC if resync else SNAPSHOT
        found = inside(self._netns, lambda: self._take(origin, every)) or [_made(self._query, [], origin)]
        found[-1].complete = True
        return found

    def _take(self, origin: int, every: bool) -> list[Batch]:
        scope: dict[str, int] | None = {} if every else None
        tables = (_all(self._query, name, origin, list, scope=scope) for name in self._tables)
        return [batch for batches in tables for batch in batches if batch]

    @property
    def query(self) -> Query:
        """What the subscriber reads of these batches."""
        return self._query

    @property
    def tables(self) -> list[str]:
        """The tables that are dumped."""
        return self._tables

    def barrier(self) -> None:
        """Return once the kernel has done what it was doing; at once where it has no way to say so."""
        if self._query.source.barrier is not None:
            type, body = self._query.source.barrier
            request = message(type, body, MessageFlag.REQUEST, next(_numbers) & 0xFFFF_FFFF)
            inside(self._netns, lambda: _ask(self._query, request))

    def again(self, table: str, scope: Mapping[str, int]) -> list[Batch]:
        """The current objects of a table of which these columns have these values; perhaps others, too."""

        def dumped() -> list[Batch]:
            try:
                return _all(self._query, table, SNAPSHOT, list, scope=scope)
            except KernelError as error:
                if scope and error.errno == errno.ENODEV:
                    return []  # the device is gone, and its objects with it
                raise

        return inside(self._netns, dumped)


def _all(
    query: Query,
    table: str,
    origin: int,
    take: Callable[[Iterable[Batch]], list[T]],
    *,
    lean: bool = False,
    scope: Mapping[str, int] | None = None,
) -> list[T]:
    """The results of `take` for the batches of a dump.

    lean: without attributes that `query` ignores. scope: values of columns, instead of those of `query`.
    """
    dump = _dump_of(query, table)
    if not isinstance(dump, Dump):
        datagrams = dump()
        return take(_made(query, some, origin) for some in iter(lambda: [*islice(datagrams, MANY)], []))
    if lean and dump.lean and not query.reads(table, dump.lean.prefix):
        dump = replace(dump, headers=dump.lean.headers)
    filters = _filters(dump, query.equalities(table) if scope is None else scope)
    if any(not filter.column for filter in filters) and not any(filter.at >= 0 for filter in filters):
        dump = replace(dump, headers=dump.split)
    for _ in range(RETRIES):
        try:
            return take(_dumped(query, table, dump, filters, origin))
        except _Interrupted:
            pass
        except KernelError as error:
            gone = scope and error.errno == errno.ENODEV
            if not filters or gone or error.errno == errno.ETIMEDOUT:
                raise
            # The kernel has no such device, table or family, or cannot filter: dump all and filter here.
            filters = {}
    help = "the table keeps changing: try again, or narrow it with where="
    raise kernel_error(errno.EINTR, f"dumping {query.source.name} {table}", help)


def _dump_of(query: Query, table: str) -> Dump | Callable[[], Iterator[bytes]]:
    dump = query.schema(table).dump
    if dump is None:
        source = query.source
        able = ", ".join(schema.name for schema in source.schemas if schema.dump is not None)
        raise SchemaError(f"{source.name} {table} is not dumpable; tables that are: {able or 'none'}")
    return dump


def _made(query: Query, datagrams: list[bytes], origin: int) -> Batch:
    """A batch of datagrams that nlbus made itself, of the current objects."""
    kind = FRAMINGS.index(query.source.framing)
    block, _ = from_datagrams(kind, datagrams, 0, 0, time_ns())
    return Batch(block, Loss(), query, origin_code=origin)


def _dumped(
    query: Query, table: str, dump: Dump, filters: Mapping[Filter, bytes], origin: int
) -> Iterator[Batch]:
    """The batches of all requests of a dump, except requests that this kernel does not support."""
    unsupported: NlbusError | None = None
    supported = False
    for header in dump.headers() if callable(dump.headers) else dump.headers:
        try:
            yield from _dump(query, table, dump, _body(header, filters), origin)
            supported = True
        except KernelError as error:
            if error.errno == errno.ENOENT and dump.option:
                help = f"this kernel lacks {dump.option}"
                unsupported = kernel_error(error.errno, f"dumping {query.source.name} {table}", help)
            elif error.errno == errno.EOPNOTSUPP:
                unsupported = error
            elif error.errno == errno.ENODATA or (error.errno == errno.ENOENT and callable(dump.headers)):
                supported = True  # there is none of this kind, or what the header is about has gone
            else:
                raise
    if unsupported and not supported:
        raise unsupported


def _ask(query: Query, request: bytes) -> None:
    """Send a request and read the answer, whatever it is."""
    action = f"waiting for {query.source.name}"
    with closing(_receiver(query, action)) as receiver:
        try:
            receiver.send(request)
            receiver.receive(PATIENCE)
        except OSError as error:
            raise kernel_error(error.errno or 0, action) from error


class _Interrupted(Exception):  # noqa: N818 - never leaves this module
    """The table changed while it was dumped."""


def _dump(query: Query, table: str, dump: Dump, body: bytes, origin: int) -> Iterator[Batch]:
    action = f"dumping {query.source.name} {table}"
    # What the kernel cannot dump, it answers as if asked for one object, and ends that with an ACK.
    flags = MessageFlag.REQUEST | MessageFlag.ACK | GetFlag.DUMP
    request = message(dump.type, body, flags, dump.seq or next(_numbers) & 0xFFFF_FFFF)
    ended = False
    with closing(_receiver(query, action)) as receiver:
        try:
            receiver.send(request)
        except OSError as error:
            raise kernel_error(error.errno or 0, action, query.source.needs) from error
        while not ended:
            try:
                block = receiver.receive(PATIENCE)
            except OSError as error:
                raise kernel_error(error.errno or 0, action) from error
            if block is not None and block.losses:
                raise kernel_error(errno.EMSGSIZE, action, TOO_LARGE)
            if block is None or not block.rows:
                raise kernel_error(errno.ETIMEDOUT, action, f"no answer in {PATIENCE:.0f} seconds")
            if block.flags & MessageFlag.DUMP_INTR:
                raise _Interrupted
            batch = Batch(block, Loss(), query, origin_code=origin)
            ended = _ended(batch, action, query.source)
            yield batch.take(batch.messages[:-1]) if ended else batch
            del block, batch  # unless the caller keeps it, its warm memory serves the next receive


def _receiver(query: Query, action: str) -> Receiver:
    try:
        receiver = _open(query)
    except OSError as error:
        raise kernel_error(error.errno or 0, action, query.source.needs) from error
    receiver.expect_dump(CHUNK)
    return receiver


def _open(query: Query) -> Receiver:
    socket = Socket(
        query.source.protocol,
        "nlmsg",
        (),
        buffer_bytes=BUFFER,
        buffer_limit=BUFFER,
        trust_kernel=True,
        user_groups=0,
        trust_uids=(),
    )
    return Receiver(socket, max_memory=MEMORY, parked=Event())


def _ended(batch: Batch, action: str, source: Source) -> bool:
    """Whether the batch ends the dump. PermissionDenied, KernelError if the kernel refused the dump."""
    last = int(batch.messages["type"][-1])
    if last not in (MessageType.DONE, MessageType.ERROR):
        return False
    reply = Reply(last, int(batch.messages["flags"][-1]), batch.payload(-1))
    refused = refusal(reply, action)
    if isinstance(refused, KernelError) and refused.errno == errno.EMSGSIZE:
        refused = refusal(reply, action, TOO_LARGE)
    if isinstance(refused, PermissionDenied):
        refused = refusal(reply, action, source.needs.removeprefix("joining "))
    if refused:
        raise refused
    return True


def _filters(dump: Dump, equal: Mapping[str, int]) -> dict[Filter, bytes]:
    """The conditions that the kernel can check, with their values, except those that no row can meet."""
    found = {
        filter: equal[filter.column].to_bytes(filter.size, "big" if filter.big_endian else sys.byteorder)
        for filter in dump.filters
        if 0 <= equal.get(filter.column, -1) < 1 << 8 * filter.size
        and equal[filter.column] not in filter.unless
    }
    more = {} if dump.more is None else dump.more(equal)
    return found | {Filter("", 0, number=number): payload for number, payload in more.items()}


def _body(header: bytes, filters: Mapping[Filter, bytes]) -> bytes:
    """The request with these conditions."""
    filled = bytearray(header)
    attributes = b""
    for filter, value in filters.items():
        if filter.at >= 0:
            filled[filter.at : filter.at + filter.size] = value
        else:
            attributes += attribute(filter.number, value)
    return bytes(filled) + bytes(-len(filled) % 4) + attributes
