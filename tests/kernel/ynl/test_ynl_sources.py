"""Specs of our own beside nlbus's tables of the same messages: dumps, events, State, captures, commands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import nlbus
from nlbus import State, Subscriber, UnknownSource, field, ynl
from nlbus.kernel.requests import Requests
from tests.support.ynl_builtin import compare

pytest.importorskip("yaml")
pytest.importorskip("jsonschema")

Subscribe = Callable[..., Subscriber]
DATA = Path(__file__).parents[2] / "data" / "ynl"
SOAK = os.environ.get("NLBUS_LINUX", "")  # the source of a kernel, for `make soak`


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def kinds(*names: str) -> None:
    """Links of these kinds, which this kernel may lack."""
    for name in names:
        extra = ["peer", "name", f"{name}1"] if name == "veth" else []
        subprocess.run(
            ["ip", "link", "add", f"{name}0", "type", name, *extra], check=False, capture_output=True
        )


@pytest.fixture
def links() -> ynl.Spec:
    return ynl.load(DATA / "links.yaml")


def test_a_spec_equals_the_table_of_the_same_messages(links: ynl.Spec) -> None:
    kinds("veth", "bridge", "dummy", "ifb")
    subprocess.run(["ip", "link", "set", "veth0", "master", "bridge0"], check=False, capture_output=True)
    subprocess.run(["ip", "link", "property", "add", "dev", "veth0", "altname", "other"], check=False)
    ip("link", "set", "lo", "alias", "loop")
    rows, columns, different = compare(links, "route", "link", "link")
    assert different == []
    assert rows >= 3
    assert columns >= 16


def test_what_nlbus_knows_of_the_messages_is_taken_over(links: ynl.Spec) -> None:
    schema = nlbus.schema(links, "link")
    assert (schema.key, schema.groups) == (("ifindex",), ("link",))
    assert nlbus.schema("ynl:links", "link")["controller"].display == ""
    found = nlbus.snapshot(links, "link", where=field("kind") == "veth")  # a word of nlbus's table
    assert len(found) == 0
    kinds("veth")
    found = nlbus.snapshot(links, "link", where=field("name") == "lo", columns=["ifindex", "state"])
    assert [(row["ifindex"], row["state"]) for row in found.iter_rows()] == [(1, "down")]


def test_events_of_a_spec_keep_a_state(links: ynl.Spec, subscribe: Subscribe) -> None:
    sub = subscribe(links, snapshot=True)
    kept = State(links, "link")
    while not kept.complete:
        kept.apply(sub.recv(timeout=5))
    ip("link", "set", "lo", "mtu", "1500")
    for _ in range(5):
        kept.apply(sub.recv(timeout=1))
        if kept["link"][1]["mtu"] == 1500:
            break
    assert kept["link"][1]["mtu"] == 1500
    assert sub.state["link"][1]["name"] == "lo"


def test_a_capture_of_a_spec_reads_like_the_subscriber(
    links: ynl.Spec, subscribe: Subscribe, tmp_path: Path
) -> None:
    sub = subscribe(links)
    ip("link", "set", "lo", "mtu", "1501")
    nlbus.record(tmp_path / "links.pcapng", sub, seconds=0.3)
    with nlbus.open_capture(tmp_path / "links.pcapng") as capture:
        rows = [row for batch in capture for row in batch.table("link").iter_rows()]
        assert capture.source is not None
        assert capture.source.name == "ynl:links"
    assert [row["mtu"] for row in rows][-1] == 1501


def nlbus_command(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nlbus", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_the_commands_take_a_spec() -> None:
    spec = str(DATA / "links.yaml")
    shown = nlbus_command("snapshot", "--spec", spec, "getlink", "--columns", "name,mtu")
    assert shown.stdout.split() == ["NAME", "MTU", "lo", "65536"]
    shown = nlbus_command("snapshot", "-o", "json", f"--spec={spec}")
    assert json.loads(shown.stdout)["name"] == "lo"
    listed = nlbus_command("sources", "--spec", str(DATA / "garden.yaml")).stdout
    assert "plant.parent: plant within plant: its bytes are one column" in listed
    heard = nlbus_command("listen", "--spec", spec, "--seconds", "0.1")
    assert (heard.returncode, "listening to ynl:links, groups link" in heard.stderr) == (0, True)
    wrong = nlbus_command("listen", "--spec", "nosuch.yaml")
    assert (wrong.returncode, wrong.stderr) == (1, "nlbus: reading nosuch.yaml: No such file or directory\n")


def test_generic_netlink_has_its_numbers_at_run_time(subscribe: Subscribe, tmp_path: Path) -> None:
    text = (DATA.parents[2] / "docs" / "ynl.md").read_text().split('write_text("""')[1].split('"""')[0]
    (tmp_path / "control.yaml").write_text(text)
    control = ynl.load(tmp_path / "control.yaml")
    families = {row["name"]: row["number"] for row in nlbus.snapshot(control, "family").iter_rows()}
    assert families["nlctrl"] == 16
    sub = subscribe(control, snapshot=True)
    assert sub.recv(timeout=5).complete
    assert sub.state["family"][16]["name"] == "nlctrl"
    assert list(sub.source.groups) == ["notify"]
    with Requests(16) as nlctrl:
        assert len(nlctrl.dump(16, b"\3\2\0\0", "listing families")) == len(families)


def test_a_family_that_does_not_exist_is_named() -> None:
    shop = ynl.load(DATA / "shop.yaml")
    for use in (lambda: nlbus.snapshot(shop, "good"), lambda: Subscriber(shop)):
        with pytest.raises(UnknownSource, match="no generic netlink family 'shop-for-tests'"):
            use()


@pytest.mark.soak
@pytest.mark.skipif(
    not SOAK, reason="NLBUS_LINUX names no source of a kernel: Debian's linux-source, unpacked"
)
def test_all_specs_of_a_kernel_load_and_equal_its_own_tool() -> None:
    kinds("veth", "bridge", "dummy", "vlan", "bond", "vxlan", "ifb")
    ip("link", "set", "lo", "up")
    ip("addr", "add", "10.0.0.1/24", "dev", "lo")
    command = [sys.executable, "-m", "tests.support.ynl_kernel", SOAK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
