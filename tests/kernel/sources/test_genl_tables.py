"""Tables of generic netlink families, beside what other programs and /proc say."""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import nlbus
from nlbus import Subscriber, UnknownSource, open_capture, record
from nlbus.sources import find
from tests.support.sockets import ip

Subscribe = Callable[..., Subscriber]
VETH = "link add va type veth peer name vb"
PEER = "link set va up", "link set vb up", "link set lo up"


def run(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def has_family(name: str) -> None:
    try:
        find(f"genl:{name}")
    except UnknownSource as error:
        pytest.skip(str(error))


def channels_of(device: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The RX and TX channels that a device may have, and those it has, as ethtool reads them."""
    listed = run("ethtool", "-l", device)
    rx, tx = (
        [int(number) for number in re.findall(rf"^{kind}:\s+(\d+)", listed, re.MULTILINE)]
        for kind in ("RX", "TX")
    )
    return (rx[0], tx[0]), (rx[1], tx[1])


def rows_until(sub: Subscriber, done: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    give_up = time.monotonic() + 10
    while not done(rows) and time.monotonic() < give_up:
        rows += sub.recv(timeout=0.5).rows()
    assert done(rows), rows
    return rows


# -- nlctrl -----------------------------------------------------------------------------------------------


def test_families_are_those_of_genl() -> None:
    listed = run("genl", "ctrl", "list")
    pattern = r"Name: (\S+)\s+ID: (0x\w+)\s+Version: (0x\w+)\s+header size: (\d+)\s+max attribs: (\d+)"
    theirs = {
        (name, int(number, 16), int(version, 16), int(header), int(most))
        for name, number, version, header, most in re.findall(pattern, listed)
    }
    families = nlbus.snapshot("genl:nlctrl", "family")
    columns = ("family_name", "family_id", "version", "hdrsize", "maxattr")
    rows = list(families.iter_rows())
    assert {tuple(row[name] for name in columns) for row in rows} == theirs
    groups = {int(number, 16): name for number, name in re.findall(r"ID-(0x\w+)\s+name: (\S+)", listed)}
    mine = {
        number: name
        for row in rows
        for number, name in zip(row["group_id"] or (), row["group_name"] or (), strict=True)
    }
    assert mine == groups
    commands = re.findall(r"ID-0x\w+ *$", listed, re.MULTILINE)
    assert sum(len(row["op_id"] or ()) for row in rows) == len(commands)


def test_policies_name_the_attributes_of_each_command() -> None:
    policies = nlbus.snapshot("genl:nlctrl", "policy", where=nlbus.field("family_id") == 16)
    rows = list(policies.iter_rows())
    [getfamily] = [row for row in rows if row["op_cmd"] == 3]
    [name] = [row for row in rows if row["policy_number"] == getfamily["op_do"] and row["policy_attr"] == 2]
    assert (name["policy_type"], name["policy_max_length"]) == ("nul_string", 15)


# -- network devices --------------------------------------------------------------------------------------


def test_ethtool_reads_what_ethtool_reads_and_hears_what_it_changes(subscribe: Subscribe) -> None:
    has_family("ethtool")
    ip(VETH, *PEER)
    sub = subscribe("genl:ethtool")
    run("ethtool", "-L", "va", "rx", "1", "tx", "1")
    run("ethtool", "-L", "va", "rx", "2", "tx", "2")
    run("ethtool", "-K", "va", "tso", "off")
    rows = rows_until(sub, lambda rows: {"channels", "features"} <= {row["nl_table"] for row in rows})
    changed = [row for row in rows if row["nl_table"] == "channels"][-1]
    listed = {row["dev_name"]: row for row in nlbus.snapshot("genl:ethtool", "channels").iter_rows()}
    most, theirs = channels_of("va")
    for row in (changed, listed["va"]):
        assert (row["dev_name"], row["rx_count"], row["tx_count"]) == ("va", *theirs)
        assert (row["rx_max"], row["tx_max"]) == most
    modes = {row["dev_name"]: row for row in nlbus.snapshot("genl:ethtool", "linkmodes").iter_rows()}
    assert f"{modes['va']['speed']}Mb/s" in run("ethtool", "va")
    states = {row["dev_name"]: row["link"] for row in nlbus.snapshot("genl:ethtool", "linkstate").iter_rows()}
    assert states == {"lo": "up", "va": "up", "vb": "up"}
    assert sub.stats()["malformed"] == 0


def test_netdev_says_which_devices_come_and_go(subscribe: Subscribe) -> None:
    has_family("netdev")
    sub = subscribe("genl:netdev", tables=["dev"])
    ip(VETH, *PEER)
    index = socket.if_nametoindex("va")
    there = {row["ifindex"]: row for row in nlbus.snapshot("genl:netdev", "dev").iter_rows()}
    assert set(there) == {number for number, _ in socket.if_nameindex()}
    assert "redirect" in there[index]["xdp_features"]
    queues = nlbus.snapshot("genl:netdev", "queue", where=nlbus.field("ifindex") == index)
    kinds = [row["type"] for row in queues.iter_rows()]
    assert (kinds.count("rx"), kinds.count("tx")) == channels_of("va")[1]
    ip("link del va")
    rows = rows_until(sub, lambda rows: len([row for row in rows if row["nl_op"] == "del"]) == 2)
    assert {row["ifindex"] for row in rows if row["nl_op"] == "new"} == set(there) - {1}


# -- multipath TCP ----------------------------------------------------------------------------------------


def test_mptcp_tells_of_endpoints_and_connections(subscribe: Subscribe) -> None:
    has_family("mptcp_pm")
    ip("link set lo up", "mptcp endpoint add 10.9.0.1 dev lo subflow backup id 7",
       "mptcp endpoint add 127.0.0.1 id 8 signal port 9999")  # fmt: skip
    theirs = json.loads(run("ip", "-j", "mptcp", "endpoint", "show"))
    ours = {row["id"]: row for row in nlbus.snapshot("genl:mptcp_pm", "endpoint").iter_rows()}
    assert len(ours) == len(theirs) == 2
    for row in theirs:
        assert ours[row["id"]]["addr"] == row["address"]
        assert ours[row["id"]]["port"] == row.get("port", 0)
        assert all(flag in row for flag in ours[row["id"]]["flags"])
    sub = subscribe("genl:mptcp_pm", groups="mptcp_pm_events")
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)  # IPPROTO_MPTCP
    except OSError as error:
        pytest.skip(f"no multipath TCP: {error}")
    with listener, socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        ours_, theirs_ = client.getsockname(), listener.getsockname()
        peer, _ = listener.accept()
        client.sendall(b"x")
        peer.recv(1)
        peer.close()
    rows = rows_until(sub, lambda rows: sum(row["event"] == "closed" for row in rows) >= 2)
    made = [row for row in rows if row["event"] == "created"]
    pairs = {(row["saddr"], row["sport"], row["daddr"], row["dport"]) for row in made}
    assert pairs == {(*ours_, *theirs_), (*theirs_, *ours_)}
    closed = {row["token"] for row in rows if row["event"] == "closed"}
    assert closed == {row["token"] for row in made}
    assert {row["nl_op"] for row in rows if row["event"] == "closed"} == {"del"}


# -- tasks ------------------------------------------------------------------------------------------------


def test_taskstats_tells_what_an_ended_process_used(subscribe: Subscribe, first_netns: None) -> None:
    has_family("TASKSTATS")
    sub = subscribe("genl:TASKSTATS")
    process = subprocess.Popen(["/bin/sh", "-c", "read line; : >/dev/null; exit 3"], stdin=subprocess.PIPE)
    before = Path(f"/proc/{process.pid}/stat").read_text().split()
    process.communicate(b"\n")
    rows = rows_until(sub, lambda rows: any(row["pid"] == process.pid for row in rows))
    [row] = [row for row in rows if row["pid"] == process.pid]
    assert row["exitcode"] == 3 << 8
    assert (row["ppid"], row["tgid"]) == (os.getpid(), process.pid)
    assert (row["uid"], row["gid"]) == (os.getuid(), os.getgid())
    assert row["comm"] == before[1].strip("()")
    assert row["minflt"] >= int(before[9])
    assert row["version"] >= 8
    assert sub.stats()["malformed"] == 0


def test_a_snapshot_of_taskstats_has_every_process() -> None:
    has_family("TASKSTATS")
    here = nlbus.snapshot("genl:TASKSTATS", "task", where=nlbus.field("pid") == os.getpid())
    [row] = here.iter_rows()
    assert row["comm"] == Path("/proc/self/comm").read_text().strip()
    assert row["process_id"] == os.getpid()
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]
    assert 0 < row["hiwater_rss"] <= peak
    since = time.time() - float(Path("/proc/uptime").read_text().split()[0])
    started = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    assert abs(row["btime"] - (since + started / os.sysconf("SC_CLK_TCK"))) <= 2


# -- captures ---------------------------------------------------------------------------------------------


def test_a_capture_of_a_kernel_with_another_number_is_read(subscribe: Subscribe) -> None:
    has_family("netdev")
    file = BytesIO()
    sub = subscribe("genl:netdev", tables=["dev"])
    ip(VETH)
    record(file, sub, count=2)
    [number] = find("genl:netdev").types
    here, there = (struct.pack("=HH", each, 0) for each in (number, number + 40))
    elsewhere = (
        file.getvalue().replace(here, there).replace(b"family=%d" % number, b"family=%d" % (number + 40))
    )
    assert elsewhere != file.getvalue()
    for content in (file.getvalue(), elsewhere):
        for source in (None, "genl:netdev"):
            rows = [row for batch in open_capture(BytesIO(content), source) for row in batch.rows()]
            assert [row["nl_table"] for row in rows] == ["dev", "dev"]
    unnumbered = elsewhere.replace(b"family=%d" % (number + 40), b"family=xx")
    assert [
        row for batch in open_capture(BytesIO(unnumbered)) for row in batch.rows() if "ifindex" in row
    ] == []
