"""The decoder compared with the reference on this kernel's links, routes, connections, processes and so on.

Every dump and event, first unchanged, then damaged.
"""

import errno
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from random import Random

import pytest

from nlbus import Batch, KernelError, Subscriber
from nlbus.errors import NlbusError
from nlbus.kernel.requests import Requests
from nlbus.schema.schema import Dump, Schema
from nlbus.sources import find
from nlbus.sources.probe import probe
from tests.support.decoding import agree, agree_at_the_edge
from tests.support.route_scene import Scene
from tests.support.schemas import Message, spoilt
from tests.support.sockets import drain, run, track_connections

Subscribe = Callable[..., Subscriber]
SPOILT = 300  # messages per table
TRACK_IPV6 = """table ip6 track { chain out {
    type filter hook output priority 0; ct state new,established accept;
}; }"""


def schemas(source: str) -> list[Schema]:
    return [schema for schema in find(source).schemas if isinstance(schema, Schema)]


def dumped(source: str, schema: Schema) -> list[Message]:
    assert isinstance(schema.dump, Dump)
    headers = schema.dump.headers() if callable(schema.dump.headers) else schema.dump.headers
    with Requests(find(source).protocol) as requests:
        try:
            replies = [requests.dump(schema.dump.type, header, schema.name) for header in headers]
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:  # VLANs of bridges, say
                raise
            replies = []
    return [(reply.type, reply.flags, reply.body) for reply in chain(*replies)]


def heard(batches: Iterable[Batch]) -> list[Message]:
    found = []
    for batch in batches:
        rows = batch.messages
        for i, (kind, flags) in enumerate(zip(rows["type"].tolist(), rows["flags"].tolist(), strict=True)):
            found.append((kind, flags, batch.payload(i)))
    return found


def rows(schema: Schema, messages: Sequence[Message]) -> int:
    """The number of rows that both decoders find; none of the kernel's messages is damaged or too short."""
    found = agree(schema, messages)
    assert not any(found.damaged)
    assert found.malformed == 0
    agree_at_the_edge(schema, messages[:50])
    rng = Random(schema.name)
    wrong = [spoilt(rng, rng.choice(messages)) for _ in range(SPOILT if messages else 0)]
    agree(schema, wrong)
    agree_at_the_edge(schema, wrong)
    return len(found.rows)


def test_dumps_of_route_decode_like_the_reference(netns: int) -> None:
    Scene().build()
    counts = {}
    for schema in schemas("route"):
        if isinstance(schema.dump, Dump):
            try:
                counts[schema.name] = rows(schema, dumped("route", schema))
            except KernelError:
                counts[schema.name] = 0  # not supported by this kernel
    assert {name for name, count in counts.items() if count} >= {"link", "addr", "route", "neigh", "rule"}


def test_events_of_route_decode_like_the_reference(subscribe: Subscribe) -> None:
    sub = subscribe("route")
    Scene().build()
    messages = heard(drain(sub, 0.1))
    counts = {schema.name: rows(schema, messages) for schema in schemas("route")}
    assert min(counts[name] for name in ("link", "addr", "route", "neigh", "rule")) > 0


def test_connections_decode_like_the_reference(subscribe: Subscribe) -> None:
    track_connections()
    run("nft", "-f", "-", text=TRACK_IPV6)
    sub = subscribe("conntrack")
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((host, 0), family=family) as server, socket.socket(family) as client:
            client.connect(server.getsockname())
            client.send(b"x")
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", (host, 9))
    messages = heard(drain(sub, 0.1))
    table = next(schema for schema in schemas("conntrack") if schema.name == "conntrack")
    assert rows(table, messages) >= 6
    assert rows(table, dumped("conntrack", table)) >= 4
    run("conntrack", "-F")
    assert rows(table, heard(drain(sub, 0.1))) >= 4


def test_processes_decode_like_the_reference(first_netns: None, subscribe: Subscribe) -> None:
    tried = probe(find("proc"))
    if tried is None or not tried.available:
        pytest.skip("this kernel has no process connector" if tried is None else tried.reason)
    try:
        sub = subscribe("proc")
    except NlbusError as error:
        pytest.skip(str(error))
    for _ in range(20):
        subprocess.run(["sh", "-c", "true & wait"], check=True)
    subprocess.run(["setsid", "true"], check=True)
    messages = heard(sub.batches(timeout=0.1, stop_after=2000))  # a busy machine is never silent
    counts = {schema.name: rows(schema, messages[:2000]) for schema in schemas("proc")}
    assert min(counts[name] for name in ("fork", "exec", "exit")) >= 20
