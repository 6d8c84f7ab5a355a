"""Every netlink socket of the machine, compared with the sockets themselves and /proc/net/netlink."""

import json
import logging
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import nlbus
from nlbus import KernelError, NetlinkSocket, Publisher, Subscriber, diag
from nlbus.cli.main import commands
from nlbus.diag import survey
from nlbus.kernel.procfs import Place
from tests.support.sockets import NOBODY, Child, here, portid, proc_netlink, python

Subscribe = Callable[..., Subscriber]
Fork = Callable[..., Child]
Others = Callable[[], str]


def inode(netns: str) -> int:
    return int(netns.removeprefix("net:[").removesuffix("]"))


def row(sub: Subscriber, found: list[NetlinkSocket], netns: str = "") -> NetlinkSocket:
    """The subscriber's own row in this namespace; sockets elsewhere may have the same portid."""
    mine = (sub._source.protocol, portid(sub), inode(netns or here()))
    (one,) = [s for s in found if (s.protocol, s.portid, s.netns) == mine]
    return one


def overrun(sub: Subscriber, publisher: Publisher) -> None:
    """Overflow the subscriber's buffer, and let the subscriber count the drops."""
    for _ in range(50):
        publisher.publish(b"x", 3)
    sub.recv(0)
    for _ in range(50):
        publisher.publish(b"x", 3)


@pytest.fixture
def full(subscribe: Subscribe) -> Subscriber:
    # The publisher first: the first socket of a protocol gets the pid as its portid. It is closed at
    # once: an idle publisher sends a heartbeat, which is dropped and counted, too.
    with Publisher() as publisher:
        sub = subscribe(groups=(3, 9), buffer_events=10, on_loss="ignore")
        overrun(sub, publisher)
    return sub


def test_a_subscriber_is_found_with_its_groups_also_above_32(subscribe: Subscribe) -> None:
    sub = subscribe("route", groups=("link", "nexthop", "stats", "ipv6_acaddr"))
    one = row(sub, nlbus.netlink_sockets())
    assert one.groups == sub.groups
    assert one.group_names == ("link", "nexthop", "stats", "ipv6_acaddr")
    assert (one.protocol, one.protocol_name) == (0, "route")
    assert {"pktinfo", "no_enobufs"} <= set(one.flags or ())
    assert [process.pid for process in one.processes] == [os.getpid()]
    assert one.processes[0].command
    assert one.netns == inode(here())
    sub.leave("stats")
    assert row(sub, nlbus.netlink_sockets()).groups == sub.groups


@pytest.mark.parametrize(
    ("source", "groups", "names"),
    [
        ("uevent", (1, 2), ("kernel", "udev")),
        ("conntrack", "new", ("new",)),
        ("raw:netfilter", (7, 20), ("nftables", "20")),
        ("raw:2", (1, 32), ("1", "32")),
        ("genl:nlctrl", "notify", ("nlctrl:notify",)),
    ],
)
def test_groups_have_the_names_of_the_source_that_knows_them(
    subscribe: Subscribe, source: str, groups: Any, names: tuple[str, ...]
) -> None:
    assert row(subscribe(source, groups), nlbus.netlink_sockets(here=True)).group_names == names


def test_fill_and_drops_equal_the_kernels_and_the_subscribers(full: Subscriber) -> None:
    one = row(full, nlbus.netlink_sockets(here=True))
    kernel, stats = proc_netlink(full), full.stats()
    assert one.groups.mask == kernel.groups == full.groups.mask
    assert 0 < one.buffer_used == kernel.rmem == stats["buffer_used"]
    assert one.buffer_size == stats["buffer_size"]
    assert one.drops == kernel.drops > stats["dropped"] > 0
    full.recv(0)
    assert row(full, nlbus.netlink_sockets(here=True)).drops == full.stats()["dropped"] == one.drops
    assert row(full, nlbus.netlink_sockets(here=True)).buffer_used == 0


def test_it_lists_the_sockets_in_proc_without_its_own(full: Subscriber) -> None:
    def listed() -> set[tuple[int, int, int]]:
        with open("/proc/thread-self/net/netlink") as file:  # noqa: PTH123
            rows = [line.split() for line in file.readlines()[1:]]
        return {(int(row[1]), int(row[2]), int(row[9])) for row in rows}

    before = listed()
    found = [(s.protocol, s.portid, s.inode) for s in nlbus.netlink_sockets(here=True)]
    assert set(found) == before == listed()
    assert len(found) == len(set(found))
    assert (2, portid(full)) in {(protocol, port) for protocol, port, _ in found}
    assert sum(port == 0 for _, port, _ in found) > 3


def test_a_socket_that_two_processes_hold(full: Subscriber, child: Fork) -> None:
    reader, writer = os.pipe()
    forked = child(lambda: os.read(reader, 1))
    one = row(full, nlbus.netlink_sockets())
    assert sorted(process.pid for process in one.processes) == sorted([os.getpid(), forked.pid])
    os.write(writer, b"x")
    forked.result()
    os.close(reader)
    os.close(writer)


# Other namespaces


def test_a_socket_in_another_namespace(subscribe: Subscribe, others: Others) -> None:
    path = others()
    away = os.readlink(path)  # noqa: PTH115
    there, mine = subscribe("uevent", netns=path), subscribe("uevent")
    found = nlbus.netlink_sockets()
    assert row(there, found, away).processes == row(mine, found).processes != ()
    assert row(there, found, away).inode != row(mine, found).inode
    assert found[0].netns == inode(here())
    only_there = nlbus.netlink_sockets(path)
    assert {one.netns for one in only_there} == {inode(away)}
    assert row(there, only_there, away) == row(there, found, away)
    only_here = nlbus.netlink_sockets(here=True)
    assert {one.netns for one in only_here} == {inode(here())}
    assert row(mine, only_here) == row(mine, found)


def test_a_socket_in_a_named_namespace(subscribe: Subscribe) -> None:
    name = f"nlbus-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"`ip netns add` does not work here: {made.stderr.strip()}")
    try:
        sub = subscribe("uevent", netns=name)
        named = [one for one in nlbus.netlink_sockets() if one.netns_name == name]
        assert portid(sub) in {one.portid for one in named}
        assert {one.netns for one in named} == {Path(f"/run/netns/{name}").stat().st_ino}
        assert nlbus.netlink_sockets(name) == named
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_socket_in_the_namespace_of_a_single_thread(subscribe: Subscribe) -> None:
    from tests.kernel.conftest import CLONE_NEWNET, libc

    opened, looked = threading.Event(), threading.Event()
    there: list[Any] = []

    def elsewhere() -> None:
        if libc.unshare(CLONE_NEWNET) == 0:
            there.extend([Subscriber("uevent"), here()])
            opened.set()
            looked.wait()
            there[0].close()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    opened.wait(5)
    found = nlbus.netlink_sockets()
    looked.set()
    assert row(there[0], found, there[1]).processes
    thread.join()


def test_a_socket_in_a_namespace_whose_first_thread_has_ended(
    subscribe: Subscribe, others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = others()
    away = os.readlink(path)  # noqa: PTH115
    sub = subscribe("uevent", netns=path)
    gone = Place(inode(away), "", ["/proc/self/task/1/ns/net", path])
    ended = Place(1, "", ["/proc/self/task/1/ns/net"])
    mine = Place(inode(here()), "", [])
    monkeypatch.setattr(diag, "places", lambda: ({one.inode: one for one in (mine, gone, ended)}, 0))
    found = survey()
    assert row(sub, found.sockets, away)
    assert not any("entering" in sentence for sentence in found.missing)


def test_an_argument_that_is_no_namespace_is_refused() -> None:
    with pytest.raises(KernelError, match="no-such-name"):
        nlbus.netlink_sockets("no-such-name")


def test_listing_sockets_leaves_nothing_behind(others: Others) -> None:
    others()
    nlbus.netlink_sockets()
    before, home = len(os.listdir("/proc/self/fd")), here()  # noqa: PTH208
    for _ in range(20):
        nlbus.netlink_sockets()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert here() == home
    assert "nlbus netns" not in {thread.name for thread in threading.enumerate()}


# Ordinary users


@pytest.fixture
def as_nobody(child: Fork) -> Iterator[Callable[[Callable[[], Any]], Callable[[], Any]]]:
    """Work by an ordinary user, forked now and run later: it inherits no descriptor opened meanwhile."""
    reader, writer = os.pipe()

    def fork(work: Callable[[], Any]) -> Callable[[], Any]:
        def wait() -> Any:
            os.read(reader, 1)
            return work()

        forked = child(wait, uid=NOBODY)

        def begin() -> Any:
            os.write(writer, b"x")
            return forked.result()

        return begin

    yield fork
    os.close(reader)
    os.close(writer)


def test_an_ordinary_user_sees_their_namespace_and_is_warned_of_missing_ones(
    as_nobody: Callable[..., Callable[[], Any]], subscribe: Subscribe, publisher: Publisher, others: Others
) -> None:
    def work() -> tuple[list[tuple[int, int, int, int]], list[str], int]:
        own = Subscriber("uevent")
        found = survey()
        rows = [(s.netns, s.portid, s.drops, len(s.processes)) for s in found.sockets]
        return rows, found.missing, portid(own)

    begin = as_nobody(work)
    others()
    full = subscribe(groups=3, buffer_events=10, on_loss="ignore")
    overrun(full, publisher)
    rows, missing, own = begin()
    assert {netns for netns, *_ in rows} == {inode(here())}
    assert [held for _, port, _, held in rows if port == own] == [1]
    assert [(drops > 0, held) for _, port, drops, held in rows if port == portid(full)] == [(True, 0)]
    assert any("network namespaces" in sentence for sentence in missing)
    assert any("who holds" in sentence for sentence in missing)


def test_missing_namespaces_are_logged(child: Fork, caplog: pytest.LogCaptureFixture) -> None:
    def work() -> str:
        with caplog.at_level(logging.INFO, "nlbus"):
            nlbus.netlink_sockets()
        return caplog.text

    assert "network namespaces" in child(work, uid=NOBODY).result()


def test_root_of_a_user_namespace_cannot_enter_others_and_gets_a_warning(others: Others) -> None:
    path = others()
    code = """
import os
from nlbus import diag
from nlbus.kernel import procfs
mine = os.stat("/proc/self/ns/net").st_ino
there = procfs.Place(1, "", ["/proc/self/fd/0"])
places = procfs.places()[0] | {1: there}
diag.places = lambda: (places, 0)
found = diag.survey()
print({one.netns for one in found.sockets} == {mine}, found.missing)
"""
    with open(path) as netns:  # noqa: PTH123
        done = subprocess.run(
            ["unshare", "-Urn", *python(code)], stdin=netns, capture_output=True, text=True, check=False
        )
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no user namespaces: {done.stderr.strip()}")
    assert done.stdout.startswith("True"), done.stderr
    assert "1 network namespaces: entering them needs CAP_SYS_ADMIN" in done.stdout


# nlbus stats


def stats(*args: str, color: bool = False) -> Result:
    return CliRunner().invoke(commands, ["stats", *args], color=color)


def records(*args: str) -> list[dict[str, Any]]:
    result = stats(*args, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_stats_prints_a_table(full: Subscriber) -> None:
    one = row(full, nlbus.netlink_sockets(here=True))
    result = stats("--here", "bus")
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["PROTOCOL", "PORTID", "PROCESS", "FULL", "BUFFER", "DROPS", "OPTIONS", "GROUPS"]
    (line,) = [line.split() for line in lines if str(portid(full)) in line.split()]
    percent = 100 * one.buffer_used / (one.buffer_size or 1)
    assert line == [
        "usersock", str(one.portid), f"{os.getpid()}/{one.processes[0].command}", f"{percent:.0f}%",
        f"{one.buffer_used}/{one.buffer_size}", str(one.drops), "no_enobufs", "3,9",
    ]  # fmt: skip
    assert len({line.index("no_enobufs") for line in lines if "no_enobufs" in line}) == 1
    assert head.index("OPTIONS") == lines[-1].index("no_enobufs") or len(lines) > 1


def test_stats_shows_namespaces_if_there_are_several(subscribe: Subscribe, others: Others) -> None:
    path = others()
    sub = subscribe("uevent", netns=path)
    lines = stats("uevent").stdout.splitlines()
    at = lines[0].split().index("NETNS")
    (line,) = [line.split() for line in lines if str(portid(sub)) in line.split()]
    assert line[at] == str(inode(os.readlink(path)))  # noqa: PTH115
    pid = path.split("/")[2]
    for netns in (path, pid):
        assert {r["netns"] for r in records("--netns", netns)} == {inode(os.readlink(path))}  # noqa: PTH115


def test_stats_prints_json(full: Subscriber) -> None:
    (record,) = [r for r in records("--here", "--no-kernel") if r["portid"] == portid(full)]
    one = row(full, nlbus.netlink_sockets(here=True))
    assert record == {
        "protocol": 2, "protocol_name": "usersock", "portid": portid(full), "inode": one.inode,
        "groups": [3, 9], "group_names": ["3", "9"], "buffer_used": one.buffer_used,
        "buffer_size": one.buffer_size, "drops": one.drops, "flags": ["no_enobufs"],
        "netns": inode(here()), "netns_name": "",
        "processes": [{"pid": os.getpid(), "command": one.processes[0].command}],
    }  # fmt: skip


def test_stats_filters_the_sockets(full: Subscriber, subscribe: Subscribe) -> None:
    quiet = subscribe("uevent")

    def ports(*args: str) -> set[int]:
        return {record["portid"] for record in records("--here", *args)}

    assert {0, portid(full), portid(quiet)} <= ports()
    assert ports("--no-kernel") == ports() - {0}
    assert portid(full) in ports("--drops")
    assert portid(quiet) not in ports("--drops")
    assert portid(quiet) in ports("uevent")
    assert portid(full) not in ports("uevent")
    assert portid(full) in ports("raw:2")
    assert {portid(full), portid(quiet)} <= ports("--pid", str(os.getpid()))
    assert ports("--pid", "1") == set()


def test_drops_are_red_on_a_terminal_only(full: Subscriber, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in stats("--here").stdout
    monkeypatch.setattr("nlbus.cli.actions.stats.write_all", lambda text: click.echo(text, nl=False))
    lines = stats("--here", "bus", "--no-kernel", color=True).stdout.splitlines()
    drops = row(full, nlbus.netlink_sockets(here=True)).drops
    assert any("\x1b[31m\x1b[1m" in line and str(drops) in line for line in lines)


def test_stats_warns_an_ordinary_user_of_missing_namespaces(
    as_nobody: Callable[..., Callable[[], Any]], subscribe: Subscribe
) -> None:
    def work() -> tuple[int, str, str]:
        result = stats("bus")
        return result.exit_code, result.stdout, result.stderr

    begin = as_nobody(work)
    sub = subscribe(groups=3)
    code, out, err = begin()
    assert code == 0
    assert " ? " in next(line for line in out.splitlines() if str(portid(sub)) in line)
    assert all(line.startswith("nlbus: not shown: ") for line in err.splitlines())
    assert len(err.splitlines()) == 2


def test_a_closed_pipe_is_no_error() -> None:
    code = "from nlbus.cli import run; sys.argv[1:] = ['stats', '--here']; run()"
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(20) == 0
        assert b"Traceback" not in process.stderr.read()
