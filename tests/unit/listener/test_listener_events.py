"""Events as rules see them: dicts, globs, ordering."""

import pytest

from nlbus import Batch, SchemaError, Topic, UnknownColumn, field
from nlbus.listener.events import Event, Match, as_text, ordering_key
from nlbus.listener.plan import jobs
from nlbus.listener.rule import Rule, named
from tests.support import reference


class Nothing:
    """A handler."""

    def handle(self, rule: Rule, event: Event, ending: int) -> None: ...

    def __str__(self) -> str:
        return "nothing"


def rule(source: str, **more: object) -> Rule:
    return Rule(source=source, handler=Nothing(), **more)  # type: ignore[arg-type]


def uevent(action: str, devpath: str, **keys: str) -> bytes:
    pairs = {"ACTION": action, "DEVPATH": devpath} | keys
    return b"\0".join([f"{action}@{devpath}".encode(), *(f"{k}={v}".encode() for k, v in pairs.items()), b""])


def test_an_event_of_a_device_has_its_variables_as_they_are() -> None:
    batch = Batch.from_datagrams("uevent", [uevent("add", "/a", SUBSYSTEM="net", ODD="a=b c")], group=1)
    [(row, event)] = rule("uevent").events(batch)
    assert row == 0
    assert {key: event[key] for key in ("ACTION", "DEVPATH", "SUBSYSTEM", "ODD")} == {
        "ACTION": "add", "DEVPATH": "/a", "SUBSYSTEM": "net", "ODD": "a=b c",
    }  # fmt: skip
    assert (event["nl_table"], event["nl_op"], event["nl_origin"]) == ("uevent", "new", "live")
    assert event["nl_group"] == "kernel"
    assert "action" not in event


def test_an_events_variable_cannot_replace_one_of_ours() -> None:
    batch = Batch.from_datagrams("uevent", [uevent("add", "/a", nl_origin="forged", nl_lost="7")])
    [(_, event)] = rule("uevent").events(batch)
    assert event["nl_origin"] == "live"


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({}, True),
        ({"ACTION": "add", "SUBSYSTEM": "net"}, True),
        ({"ACTION": "remove|add"}, True),
        ({"INTERFACE": "e*[0-9]"}, True),
        ({"INTERFACE": "eth"}, False),
        ({"INTERFACE": "ETH0"}, False),
        ({"ACTION": "add", "SUBSYSTEM": "block"}, False),
        ({"ID_MODEL": "*"}, False),
        ({"nl_op": "new"}, True),
        ({"nl_group": "udev"}, False),
    ],
)
def test_all_globs_of_a_match_must_match(match: dict[str, str], fits: bool) -> None:
    batch = Batch.from_datagrams("uevent", [uevent("add", "/a", SUBSYSTEM="net", INTERFACE="eth0")], group=1)
    assert bool(rule("uevent", match=match).events(batch)) is fits


def test_values_match_as_text_and_one_of_a_list_is_enough() -> None:
    event: Event = {"mtu": 1500, "flags": ["up", "lower_up"], "carrier": True, "raw": b"\0\1", "name": b"abc"}
    assert Match({"mtu": "15*", "flags": "lower*", "carrier": "true", "raw": "0001", "name": "a?c"})(event)
    assert not Match({"flags": "down"})(event)
    assert as_text(["a", 1]) == "a 1"


def test_a_rule_for_groups_sees_only_their_events() -> None:
    kernel, udev = (Batch.from_datagrams("uevent", [uevent("add", "/a")], group=group) for group in (1, 2))
    assert rule("uevent").events(kernel)
    assert not rule("uevent").events(udev)
    assert rule("uevent", groups="udev").events(udev)


def test_snapshot_rows_go_only_to_rules_with_snapshot() -> None:
    batch = Batch.from_datagrams("uevent", [uevent("add", "/a")])
    batch.origin_code = 1
    assert not rule("uevent").events(batch)
    [(_, event)] = rule("uevent", initial=True).events(batch)
    assert (event["nl_origin"], event["nl_group"]) == ("snapshot", None)


def test_events_of_sources_without_tables_have_the_payload() -> None:
    data = reference.kernel_chain(reference.message(0x20, b"hello"), reference.message(0x21, b"x"))
    batch = Batch.from_datagrams("raw:usersock", [data], group=5)
    found = [event for _, event in rule("raw:usersock", groups=5, match={"payload": "hel*"}).events(batch)]
    assert [(event["type"], event["payload"]) for event in found] == [(0x20, b"hello")]
    found = [event for _, event in rule("raw:usersock", groups=5, where=field("type") == 0x21).events(batch)]
    assert [event["payload"] for event in found] == [b"x"]
    with pytest.raises(SchemaError, match="has no tables"):
        rule("raw:usersock", groups=5, tables=["any"], where=field("type") == 1)


def test_events_of_the_bus_and_its_topics_are_dicts() -> None:
    tick = Topic("tick", [("id", "<u8")], groups=3, type=0x100)
    record = (7).to_bytes(8, "little")
    data = reference.bus_batch(record, record_size=8, groups=4, type=0x100, fingerprint=tick.fingerprint)
    batch = Batch.from_datagrams("bus", [data], group=3)
    [(_, event)] = rule("bus", groups=3).events(batch)
    assert (event["groups"], event["payload"], event["type"]) == ([3], record, 0x100)
    assert not rule("bus", groups=1).events(batch)
    [(_, event)] = rule("bus", tables=tick, match={"id": "7"}).events(batch)
    assert (event["nl_table"], event["id"], event["nl_group"]) == ("tick", 7, "3")
    with pytest.raises(UnknownColumn, match="did you mean 'id'"):
        rule("bus", tables=[tick], match={"idd": "1"})


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ("uevent", {"match": {"subsystem": "net"}}, "did you mean 'SUBSYSTEM'"),
        ("route", {"match": {"ifnam": "x"}}, "did you mean 'ifname'"),
        ("route", {"tables": "lnk"}, "did you mean 'link'"),
        ("route", {"where": field("mtux") == 1}, "no column 'mtux'"),
        ("route", {"debounce": -1}, "debounce=-1"),
        ("route", {"debounce": float("nan")}, "debounce=nan"),
        ("uevent", {"match": {"SUBSYSTEM": 1}}, "name and match of a rule are text, not 1"),
        ("uevent", {"match": {"SUBSYSTEM": "\ud800"}}, "a lone surrogate"),
        ("uevent", {"match": {"\ud8ff": "x"}}, "a lone surrogate"),
        ("uevent", {"match": {"": "x"}}, "an empty key"),
        ("uevent", {"match": ["ACTION"]}, "globs by key"),
        ("uevent", {"name": "a\ud800"}, "a lone surrogate"),
        ("uevent", {"name": 7}, "are text, not 7"),
        ("proc", {"tables": ["exit"], "initial": True}, "no snapshot of proc exit"),
        ("bus", {"groups": 1, "initial": True}, "no snapshot"),
        ("bus", {}, "no default groups"),
    ],
)
def test_an_invalid_rule_is_refused_with_the_reason(source: str, more: dict[str, object], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        rule(source, **more)


def test_a_renamed_device_keeps_its_ordering_key() -> None:
    source = rule("uevent").resolved_source
    added = {"DEVPATH": "/net/a", "IFINDEX": "7"}
    assert ordering_key(source, added) == ordering_key(
        source, added | {"DEVPATH": "/net/b", "DEVPATH_OLD": "/net/a"}
    )
    disk = {"DEVPATH": "/x", "MAJOR": "8", "MINOR": "0", "SUBSYSTEM": "block"}
    assert ordering_key(source, disk) != ordering_key(source, disk | {"SUBSYSTEM": "mem"})
    assert ordering_key(source, {"DEVPATH": "/x"}) != ordering_key(source, {"DEVPATH": "/y"})


def test_rows_are_ordered_by_key_and_processes_by_pid() -> None:
    route, proc = rule("route").resolved_source, rule("proc").resolved_source
    link: Event = {"nl_table": "link", "ifindex": 1, "mtu": 5}
    assert (
        ordering_key(route, link)
        == ordering_key(route, link | {"mtu": 6})
        != ordering_key(route, link | {"ifindex": 2})
    )
    assert ordering_key(route, link) != ordering_key(route, link | {"nl_table": "addr"})
    assert (
        ordering_key(proc, {"child_tgid": 4, "parent_tgid": 1})
        == ordering_key(proc, {"process_tgid": 4})
        == 4
    )


def test_rules_run_in_the_order_of_events() -> None:
    batch = Batch.from_datagrams("uevent", [uevent("add", "/a"), uevent("remove", "/a")])
    first, second = rule("uevent", name="first"), rule("uevent", name="second")
    found = [(job.rule.name, job.event["ACTION"]) for job in jobs([first, second], batch)]
    assert found == [("first", "add"), ("second", "add"), ("first", "remove"), ("second", "remove")]
    assert first.counts["matched"] == 2


def test_names_are_unique() -> None:
    assert list(named([rule("uevent"), rule("uevent", name="x"), rule("uevent")])) == [
        "nothing", "x", "nothing (2)",
    ]  # fmt: skip
