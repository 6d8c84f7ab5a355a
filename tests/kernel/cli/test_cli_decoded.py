"""Output of `nlbus listen`, `snapshot` and `replay` for real events, compared with other programs."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nlbus.cli.main import commands
from nlbus.kernel.netns import inside
from nlbus.sources import find
from nlbus.sources.probe import probe
from tests.kernel.sources.test_conntrack import datagram
from tests.support.cli import ROOT, Listen
from tests.support.sockets import ip, run, track_connections

Start = Callable[..., Listen]


def nlbus(*args: str) -> Result:
    done = CliRunner().invoke(commands, args, prog_name="nlbus")
    assert done.exit_code == 0, done.stderr
    return done


def by_ip(*args: str) -> list[dict[str, Any]]:
    """The output of `ip -j`."""
    return list(json.loads(run("ip", "-j", "-d", *args) or "[]"))


def without_time(line: str) -> str:
    """The line without its time."""
    time, _, rest = line.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", time)
    return rest


# -- listen -------------------------------------------------------------------------------------------


def test_links_and_addresses_match_ip(listen: Start) -> None:
    here = listen("route", "-o", "json", "-g", "link,ipv4_ifaddr")
    ip("link add br0 mtu 1400 type bridge", "addr add 10.0.0.1/24 dev br0")
    (link,) = by_ip("link", "show", "br0")
    found = here.record()
    assert (found["nl_table"], found["nl_op"], found["group_names"]) == ("link", "new", ["link"])
    assert (found["ifindex"], found["ifname"], found["mtu"]) == (link["ifindex"], "br0", 1400)
    assert (found["address"], found["broadcast"]) == (link["address"], link["broadcast"])
    assert [flag.upper() for flag in found["flags"]] == link["flags"]
    assert (found["operstate"].upper(), found["qdisc"]) == (link["operstate"], link["qdisc"])
    assert found["linkinfo_kind"] == link["linkinfo"]["info_kind"]
    assert found["linkinfo_bridge_vlan_filtering"] == link["linkinfo"]["info_data"]["vlan_filtering"]
    (addr,) = by_ip("addr", "show", "br0")[0]["addr_info"]
    while found["nl_table"] != "addr":
        found = here.record()
    assert (found["local"], found["prefixlen"], found["label"]) == ("10.0.0.1", addr["prefixlen"], "br0")
    assert (found["family"], found["flags"]) == (addr["family"], ["permanent"])
    ip("link del br0")
    while (found["nl_table"], found["nl_op"]) != ("link", "del"):
        found = here.record()
    assert found["ifname"] == "br0"


def test_routes_match_ip(listen: Start) -> None:
    here = listen("route", "-o", "json", "--where", "protocol == 77")
    ip("link set lo up", "route add 10.9.0.0/16 dev lo metric 7 mtu 1400 proto 77")
    (route,) = by_ip("route", "show", "proto", "77")
    found = here.record()
    assert f"{found['dst']}/{found['dst_len']}" == route["dst"]
    assert (found["priority"], found["metrics_mtu"], found["oif"]) == (7, route["metrics"][0]["mtu"], 1)
    assert (found["table"], found["protocol"], found["type"]) == ("main", 77, "unicast")


def test_lines_read_like_those_of_ip(listen: Start) -> None:
    here = listen("route", "-g", "link,ipv4_ifaddr,ipv4_route,neigh,ipv4_rule")
    ip("link add d0 type ifb", "link set d0 up", "addr add 10.0.0.1/24 dev d0")
    ip("route add 10.9.0.0/16 via 10.0.0.2", "rule add fwmark 3 lookup 77")
    ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev d0", "link del d0")
    lines: list[str] = []
    while not lines or not lines[-1].startswith("del link"):
        lines.append(without_time(here.line()))
    assert re.fullmatch(r"new link \d+: d0 <broadcast,noarp> mtu 1500 .*kind ifb link/ether .*", lines[0])
    assert "new addr 10.0.0.1/24 dev d0 scope global permanent" in lines
    assert "new route 10.0.0.0/24 dev d0 proto kernel scope link src 10.0.0.1" in lines
    assert "new route 10.9.0.0/16 via 10.0.0.2 dev d0 proto boot" in lines
    assert "new rule 32765: from all fwmark 0x3 lookup 77" in lines
    assert "new neigh 10.0.0.9 dev d0 lladdr 02:00:00:00:00:09 permanent" in lines
    assert "del addr 10.0.0.1/24 dev d0 scope global permanent" in lines


def test_a_table_joins_its_groups(listen: Start) -> None:
    here = listen("route", "--table", "addr,netconf", "--columns", "local,forwarding")
    groups = here.greeting.partition("groups ")[2]
    assert {"ipv4_ifaddr", "ipv6_ifaddr", "ipv4_netconf"} <= set(groups.strip().split(", "))
    ip("link set lo up", "addr add 10.0.0.1/24 dev lo")
    while without_time(line := here.line()) != "new addr local=10.0.0.1":
        assert without_time(line).split()[1] in ("addr", "netconf")


def test_a_condition_selects_the_events_that_count(listen: Start) -> None:
    here = listen(
        "route", "-t", "link", "--where", 'ifname ~ "w*" and mtu > 1400', "-c", "2", "--columns", "ifname"
    )
    ip(*(f"link add {name} mtu {mtu} type ifb" for name, mtu in (("v0", 1500), ("w0", 1400), ("w1", 1500))))
    ip("link add w2 mtu 9000 type ifb")
    code, lines, err = here.end()
    assert (code, [without_time(line) for line in lines]) == (0, ["new link ifname=w1", "new link ifname=w2"])
    assert err == "nlbus: 2 events, 0 lost, 0 dropped, 0 open\n"


def test_names_come_from_the_other_namespace(listen: Start, others: Callable[[], str]) -> None:
    path = others()
    inside(path, lambda: ip("link add d0 type ifb"))
    here = listen("route", "-t", "addr", "--netns", path)
    inside(path, lambda: ip("addr add 10.0.0.1/24 dev d0"))
    assert without_time(here.line()) == "new addr 10.0.0.1/24 dev d0 scope global permanent"


def test_connections_are_printed_as_classic_lines(listen: Start) -> None:
    track_connections()
    text, records = listen("conntrack"), listen("conntrack", "-o", "json")
    datagram(4711)
    run("conntrack", "-D", "-p", "udp")
    line = without_time(text.line())
    words = r"ipv4     2 udp      17 \d+ src=127.0.0.1 dst=127.0.0.1 sport=\d+ dport=4711 \[UNREPLIED\] .*"
    assert re.fullmatch(rf"\[NEW\] {words}", line)
    assert re.fullmatch(rf"\[DESTROY\] {words}", without_time(text.line()))
    found = records.record()
    assert (found["nl_op"], found["orig_dst"], found["orig_dport"]) == ("new", "127.0.0.1", 4711)
    assert f" sport={found['orig_sport']} " in line


def test_processes_are_printed_by_event(listen: Start, first_netns: None) -> None:
    tried = probe(find("proc"))
    if tried is None or not tried.available:
        pytest.skip("this kernel has no process connector" if tried is None else tried.reason)
    here = listen("proc", "--table", "exec,exit", "-o", "json")
    child = subprocess.Popen(["true"])
    child.wait()
    found = here.record()
    while (found["nl_table"], found["process_pid"]) != ("exit", child.pid):
        found = here.record()
    assert (found["exit_code"], found["exit_signal"], found["parent_pid"]) == (0, signal.SIGCHLD, find_pid())


def find_pid() -> int:
    return int(Path("/proc/self/stat").read_text().split()[0])


def test_replay_decodes_the_same_as_listen(listen: Start, tmp_path: Path) -> None:
    here = listen("route", "-g", "link", "-o", "json", "-c", "1")
    file = str(tmp_path / "links.pcapng")
    command = [sys.executable, "-m", "nlbus", "record", "route", "-g", "link", file, "-c", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT, text=True) as recorder:
        assert recorder.stderr is not None
        assert "listening to" in recorder.stderr.readline()
        ip("link set lo up")
    live = json.loads(here.end()[1][0])
    (again,) = map(json.loads, nlbus("replay", file, "-o", "json").stdout.splitlines())
    for record in (live, again):
        del record["time"], record["time_ns"]
    assert again == live
    assert without_time(nlbus("replay", file).stdout).startswith("change link 1: lo <up,loopback,")
    assert without_time(nlbus("replay", file, "--raw").stdout).startswith("route link RTM_NEWLINK ")
    assert nlbus("replay", file, "--where", "mtu < 100").stdout == ""
    refused = CliRunner().invoke(commands, ["replay", file, "--table", "lnk"])
    assert (refused.exit_code, str(refused.exception)) == (1, "1")
    assert "no table 'lnk' of route (did you mean 'link'?)" in refused.stderr


# -- snapshot -----------------------------------------------------------------------------------------


@pytest.fixture
def network() -> None:
    ip("link set lo up", "link add d0 type ifb", "link set d0 up", "addr add 10.0.0.1/24 dev d0")
    ip("route add 10.9.0.0/16 via 10.0.0.2 metric 7", "link add d1 mtu 1400 type ifb")


@pytest.mark.usefixtures("network")
def test_a_snapshot_prints_lines_like_listen() -> None:
    done = nlbus("snapshot", "route", "route", "--where", "table == main and family == inet")
    assert done.stdout.splitlines() == [
        "10.0.0.0/24 dev d0 proto kernel scope link src 10.0.0.1",
        "10.9.0.0/16 via 10.0.0.2 dev d0 proto boot metric 7",
    ]
    assert done.stderr == "nlbus: 2 rows\n"
    assert nlbus("snapshot", "route", "link").stdout.splitlines()[0].startswith("1: lo <up,loopback,")
    everything = nlbus("snapshot", "route", "link", "-v", "--where", "ifname == d1").stdout
    assert "stats64_rx_packets=0" in everything


@pytest.mark.usefixtures("network")
def test_routes_rules_and_next_hops_read_like_those_of_ip() -> None:
    ip("route add 10.3.0.0/16 via 10.0.0.2 mtu lock 1400 rtt 100ms congctl reno", "nexthop add id 1 dev d0")
    ip("route add 10.4.0.0/16 encap ip id 72 dst 10.0.0.5 ttl 9 via 10.0.0.2 dev d0")
    ip(
        "nexthop add id 2 via 10.0.0.3 dev d0",
        "nexthop add id 10 group 1,3/2",
        "route add 10.5.0.0/16 nhid 1",
    )
    ip(
        "rule add pref 77 tos 0x10 ipproto tcp dport 80 lookup 7 realms 4/5",
        "nexthop add id 7 via 10.0.0.9 fdb",
    )
    text = "\n".join(nlbus("snapshot", "route", table).stdout for table in ("route", "rule", "nexthop"))
    for command in ("route show", "rule show pref 77", "nexthop show"):
        for line in run("ip", *command.split()).splitlines():
            words = set(line.replace("\t", " ").split()) - {"linkdown", "unspec"}
            assert any(words - {"proto"} <= set(ours.split()) for ours in text.splitlines()), line
    for unread in ("flow=", "tos=", "encap", "_mask=", "fdb=", "metrics_"):
        assert f" {unread}" not in text.replace(" encap ip id 72 ", " ")


@pytest.mark.usefixtures("network")
def test_a_snapshot_of_some_columns_is_a_table() -> None:
    done = nlbus("snapshot", "route", "link", "--columns", "ifname,mtu,linkinfo_kind")
    assert done.stdout == (
        "IFNAME    MTU  LINKINFO_KIND\n"
        "lo      65536  -\n"
        "d0       1500  ifb\n"
        "d1       1400  ifb\n"
    )  # fmt: skip
    assert done.stderr == "nlbus: 3 rows\n"


@pytest.mark.usefixtures("network")
def test_a_snapshot_can_be_json_or_csv() -> None:
    records = [
        json.loads(line) for line in nlbus("snapshot", "route", "link", "-o", "json").stdout.splitlines()
    ]
    for record, link in zip(records, by_ip("link"), strict=True):
        assert (record["ifname"], record["mtu"], record["ifindex"]) == (
            link["ifname"], link["mtu"], link["ifindex"],
        )  # fmt: skip
        assert not any(name.startswith("nl_") for name in record)
    chosen = ("--columns", "ifname,flags,linkinfo_kind", "--where", "ifname in (lo, d1)")
    done = nlbus("snapshot", "route", "link", "-o", "csv", *chosen)
    assert done.stdout.splitlines() == [
        "ifname,flags,linkinfo_kind",
        'lo,"[""up"", ""loopback"", ""running"", ""lower_up""]",',
        'd1,"[""broadcast"", ""noarp""]",ifb',
    ]
    assert done.stderr == "nlbus: 2 rows\n"
    head = nlbus("snapshot", "route", "link", "-o", "csv").stdout.splitlines()[0].split(",")
    assert head[0] == "type"
    assert len(head) > 400
    assert not any(name.startswith("nl_") for name in head)
    wanted = {
        "csv": ["nl_origin,ifname", "snapshot,lo"],
        "json": ['{"nl_origin": "snapshot", "ifname": "lo"}'],
    }
    for output, lines in wanted.items():
        done = nlbus(
            "snapshot", "route", "link", "-o", output, "--columns", "nl_origin,ifname", "--count", "1"
        )
        assert done.stdout.splitlines() == lines


@pytest.mark.usefixtures("network")
def test_a_snapshot_can_be_read_by_pyarrow(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "links.parquet"
    args = ("snapshot", "route", "link", "-o", "parquet", "--columns", "mtu,ifname", str(file))
    assert nlbus(*args).stderr == "nlbus: 3 rows\n"
    assert parquet.read_table(file).to_pydict() == {
        "mtu": [65536, 1500, 1400],
        "ifname": ["lo", "d0", "d1"],
    }
    refused = CliRunner().invoke(commands, args)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "File exists; --force overwrites it" in refused.stderr
    nlbus(*args, "--force")
    command = [sys.executable, "-m", "nlbus", "snapshot", "route", "link", "-o", "arrow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    table = pyarrow.ipc.open_stream(done.stdout).read_all()
    assert table["ifname"].to_pylist() == ["lo", "d0", "d1"]
    assert table["nl_origin"].to_pylist() == ["snapshot"] * 3


@pytest.mark.usefixtures("network")
def test_the_file_name_chooses_the_snapshots_format(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def written(name: str, *more: str) -> Path:
        nlbus("snapshot", "route", "link", str(tmp_path / name), "--columns", "ifname,mtu", *more)
        return tmp_path / name

    first = {"ifname": "lo", "mtu": 65536}
    assert parquet.read_table(written("a.parquet")).to_pylist()[0] == first
    for name in ("a.arrow", "a.arrows"):
        assert pyarrow.ipc.open_stream(written(name).read_bytes()).read_all().to_pylist()[0] == first
    assert json.loads(written("a.json").read_text().splitlines()[0]) == first
    assert written("a.csv").read_text().splitlines()[:2] == ["ifname,mtu", "lo,65536"]
    assert written("a.txt").read_text().split()[:4] == ["IFNAME", "MTU", "lo", "65536"]
    assert written("b.parquet", "-o", "csv").read_text().startswith("ifname,mtu\n")


@pytest.mark.parametrize("output", ["arrow", "parquet"])
def test_without_pyarrow_the_error_says_what_to_install(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = CliRunner().invoke(commands, ["snapshot", "route", "link", "-o", output])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"nlbus: -o {output} needs pyarrow: pip install pyarrow\n"


def test_a_snapshot_can_be_of_another_namespace(others: Callable[[], str]) -> None:
    path = others()
    inside(path, lambda: ip("link add d7 type ifb", "addr add 10.0.0.7/24 dev d7"))
    (line,) = nlbus(
        "snapshot", "route", "addr", "--netns", path, "--where", "local != null"
    ).stdout.splitlines()
    assert line == "10.0.0.7/24 dev d7 scope global permanent"


def test_devices_and_processes_have_snapshots() -> None:
    assert "add@/devices/virtual/net/lo SUBSYSTEM=net " in nlbus("snapshot", "uevent").stdout
    own = str(find_pid())
    done = nlbus("snapshot", "proc", "fork", "--where", f"child_tgid == {own}", "--columns", "child_tgid")
    assert done.stdout.split()[:2] == ["CHILD_TGID", own]


def test_an_empty_snapshot_prints_nothing() -> None:
    never = ("--where", "process_pid == 0")
    assert nlbus("snapshot", "proc", "exec", *never).stdout == ""
    assert nlbus("snapshot", "proc", "exec", "--columns", "process_pid", *never).stdout == "PROCESS_PID\n"
    assert nlbus("snapshot", "proc", "exec", "-o", "json", *never).stdout == ""
    assert nlbus("snapshot", "proc", "exec", "-o", "csv", *never).stdout.count("\n") == 1


@pytest.mark.parametrize("output", ["json", "csv", "arrow", "parquet"])
def test_a_snapshot_into_a_closed_pipe_ends_quietly(output: str) -> None:
    if output in ("arrow", "parquet"):
        pytest.importorskip("pyarrow")
    command = [sys.executable, "-m", "nlbus", "snapshot", "uevent", "uevent", "-o", output]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
