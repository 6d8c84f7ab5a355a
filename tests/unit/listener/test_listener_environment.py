"""The variables that an event may set in a program's environment."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nlbus import Topic
from nlbus.listener.command import Command
from nlbus.listener.environment import DEVICE_VARIABLES, LARGEST_TOTAL, LONGEST_VALUE, variables
from nlbus.listener.events import Event
from nlbus.listener.rule import Rule


def rule_for(source: str = "uevent") -> Rule:
    return Rule(source=source, handler=Command("true"), name="r")


RULE = rule_for()
OBEYED = [
    "LD_PRELOAD", "PATH", "IFS", "BASH_ENV", "ENV", "PYTHONPATH", "PERL5OPT", "NLBUS_SOURCE", "GCONV_PATH",
    "_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "ZDOTDIR", "http_proxy", "TAR_OPTIONS", "OPENSSL_CONF", "HOME",
    "TMPDIR", "TEMP", "TIMEOUT", "DM_DEV_DIR", "LESSOPEN", "TERMINFO", "GREP_OPTIONS", "SSL_CERT_FILE",
    "_", "id_x",
]  # fmt: skip


@pytest.mark.parametrize("key", OBEYED)
def test_names_that_affect_programs_are_prefixed(key: str) -> None:
    found = variables(RULE, {key: "/tmp/evil"}, {"PATH": "/bin"})
    assert found.get(key) != "/tmp/evil"
    assert found[f"NLBUS_EVENT_{key}"] == "/tmp/evil"
    assert found["PATH"] == "/bin"


NAMES = st.one_of(
    st.sampled_from(OBEYED),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True),
    st.text(max_size=8),
)


@given(st.dictionaries(NAMES, st.text(max_size=8)), st.dictionaries(NAMES, st.just("ours")))
@example({"HOME": "/tmp"}, {})
@example({"ID_MODEL": "theirs", "DEVNAME": "sda"}, {"ID_MODEL": "ours", "DEVNAME": "ours"})
def test_only_names_of_the_source_reach_a_program_unprefixed(event: Event, base: dict[str, str]) -> None:
    found = variables(RULE, event, base)
    for key in (event.keys() | base.keys()) - RULE.keys:
        if key.startswith("NLBUS_"):
            continue
        allowed = None if key in base or not DEVICE_VARIABLES.fullmatch(key) else event.get(key)
        expected = base.get(key, None if allowed is None else allowed.replace("\0", ""))
        assert found.get(key) == expected


@pytest.mark.parametrize(
    "key",
    [
        "ID_VENDOR_FROM_DATABASE",
        "DEVLINKS",
        "PARTN",
        "BUSNUM",
        "OF_COMPATIBLE_0",
        "POWER_SUPPLY_CAPACITY",
        "DM_NAME",
    ],
)
def test_names_set_by_the_kernel_and_udev_are_unchanged(key: str) -> None:
    assert variables(RULE, {key: "x"}, {})[key] == "x"
    assert variables(RULE, {key: "x"}, {key: "ours"})[key] == "ours"
    assert key not in variables(rule_for("route"), {key: "x"}, {})


def test_fields_of_a_topic_replace_no_variable() -> None:
    topic = Topic("t", [("HOME", "<u4"), ("px", "<u4")], groups=1, type=0x100)
    rule = Rule(source="bus", handler=Command("true"), tables=topic)
    found = variables(rule, {"HOME": 1, "px": 2}, {"HOME": "/root"})
    assert (found["HOME"], found["NLBUS_EVENT_HOME"], found["px"]) == ("/root", "1", "2")


def test_our_environment_is_replaced_only_by_names_of_the_source() -> None:
    base = {"HOME": "/root", "INTERFACE": "stale", "TOKEN": "x"}
    found = variables(RULE, {"HOME": "/tmp", "INTERFACE": "eth0"}, base)
    assert (found["HOME"], found["NLBUS_EVENT_HOME"]) == ("/root", "/tmp")
    assert (found["INTERFACE"], found["TOKEN"]) == ("eth0", "x")
    assert "INTERFACE" not in variables(RULE, {"ACTION": "add"}, base)
    assert "NLBUS_LOST" not in variables(RULE, {"ACTION": "add"}, {"NLBUS_LOST": "9"})


def test_columns_keep_their_names_and_lists_become_words() -> None:
    rule = rule_for("route")
    event: Event = {
        "ifname": "eth0",
        "mtu": 1500,
        "flags": ["up", "lower_up"],
        "address": "02:00:00:00:00:01",
    }
    found = variables(rule, event, {})
    assert (found["ifname"], found["mtu"], found["flags"]) == ("eth0", "1500", "up lower_up")


def test_values_too_large_and_invalid_names_are_omitted_and_listed() -> None:
    event: Event = {"BIG": "x" * LONGEST_VALUE, "A-B": "1", "": "2", "GOOD": "3"}
    found = variables(RULE, event, {})
    assert found["NLBUS_EVENT_GOOD"] == "3"
    assert found["NLBUS_OMITTED"] == "BIG ? ?"
    many: Event = {f"K{i}": "x" * 30_000 for i in range(20)}
    found = variables(RULE, many, {})
    assert sum(len(key) + len(value) for key, value in found.items()) < LARGEST_TOTAL + 2048
    assert "K19" in found["NLBUS_OMITTED"]


@given(st.dictionaries(st.text(max_size=10), st.one_of(st.text(max_size=20), st.binary(max_size=20))))
def test_any_event_gives_a_valid_environment(event: Event) -> None:
    found = variables(RULE, event, os.environ)
    assert found["PATH"] == os.environ["PATH"]
    for key, value in found.items():
        assert "\0" not in key + value
        assert "=" not in key
        os.fsencode(value)
