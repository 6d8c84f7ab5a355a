"""Rule files: their meaning, and errors with line numbers."""

import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlbus import KernelError
from nlbus.listener.command import Command
from nlbus.listener.function import Function, Loop
from nlbus.listener.notify import Notifier
from nlbus.listener.rules import Rules, RulesError, load_rules

GOOD = """\
# All there is
workers = 2
queue = 16
overflow = "drop"

[[rule]]
name = "plug"
source = "uevent"
groups = ["kernel", "udev"]
match = { ACTION = "add|remove", SUBSYSTEM = "net" }
where = 'ifindex > 1'
exec = ["sh", "-c", "true"]
timeout = 5
debounce = 0.5
initial = true

[[rule]]
source = "route"
table = "link"
netns = "/proc/self/ns/net"
python = "handlers_of_this_test:seen"
buffer_events = 100
"""


def load(tmp_path: Path, text: str, **more: bool) -> Rules:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return load_rules(path, Loop(), **more)


def test_a_file_defines_the_rules(tmp_path: Path) -> None:
    (tmp_path / "handlers_of_this_test.py").write_text("def seen(event): ...\n")
    try:
        rules = load(tmp_path, GOOD)
    finally:
        sys.path.remove(str(tmp_path))
    assert (rules.workers, rules.queue, rules.overflow) == (2, 16, "drop")
    plug, links = rules.rules
    assert isinstance(plug.handler, Command)
    assert isinstance(links.handler, Function)
    assert (str(plug), str(links)) == ("plug", "handlers_of_this_test:seen")
    assert (plug.debounce, plug.initial, list(plug.joined_groups)) == (0.5, True, [1, 2])
    assert (links.table_names, links.netns, links.settings) == (
        ["link"],
        "/proc/self/ns/net",
        {"buffer_events": 100},
    )


WRONG = [
    ("", 0, "it has no [[rule]]"),
    ("workers = ", 1, "not TOML"),
    ("a = 1\n[[rule]\n", 2, "not TOML"),
    ("# a\nworkerz = 1\n[[rule]]\n", 2, "no key 'workerz' (did you mean 'workers'?)"),
    ("\nworkers = 100000000\n[[rule]]\nsource='uevent'\nexec='true'\n", 2, "from 1 to 1024"),
    ("\nqueue = 1000000000\n[[rule]]\nsource='uevent'\nexec='true'\n", 2, "from 1 to 1000000"),
    ("[[rule]]\nsource='uevent'\nexec='true'\ndebounce=nan\n", 4, "debounce=nan: seconds"),
    ("[[rule]]\nsource='uevent'\nexec='true'\ndebounce=1e9\n", 4, "from 0 to 86400"),
    ("[[rule]]\nsource='uevent'\nexec='true'\ntimeout=inf\n", 4, "timeout=inf: seconds"),
    ("[[rule]]\nsource='uevent'\nname=''\nexec='true'\n", 3, "name is empty"),
    ("[[rule]]\nsource='uevent'\nexec='true'\nmatch={''='x'}\n", 4, "an empty key"),
    ("\nworkers = 0\n[[rule]]\nsource='uevent'\nexec='true'\n", 2, "workers=0: from 1 to 1024"),
    ("overflow = 'lose'\n[[rule]]\nsource='uevent'\nexec='true'\n", 1, "block or drop"),
    ("rule = 7\n", 1, "rule = 7: must be a list"),
    ("[[rule]]\nexec = 'true'\n", 1, "a rule needs a source"),
    ("[[rule]]\nsource = 'uevent'\n", 1, "either exec or python"),
    (
        "[[rule]]\nsource='uevent'\nexec='true'\n\n[[rule]]\n# exce\nsource='uevent'\nexce='true'\n",
        8,
        "'exec'?",
    ),
    ("[[rule]]\nsource='uevent'\nexec='true'\ntimeout='5'\n", 4, "must be a number"),
    ("[[rule]]\nsource='uevent'\nexec='true'\nshell=1\n", 4, "must be true or false"),
    ("[[rule]]\nsource='uevent'\nexec='true'\ndebounce=true\n", 4, "must be a number"),
    ("[[rule]]\nsource='uevent'\nexec='true'\ntimeout=0\n", 4, "seconds, above 0"),
    ("[[rule]]\nsource='uevent'\nexec='no-such-program'\n", 3, "no such program"),
    ("[[rule]]\nsource='uevent'\nexec=[\n 'sh',\n 5]\n", 3, "not a program and its arguments"),
    ("[[rule]]\nsource='uevent'\npython='no_such_module_:f'\n", 3, "ModuleNotFoundError"),
    ("[[rule]]\nsource='uevent'\npython='os:name'\ntimeout=5\n", 4, "timeout goes with exec"),
    ("[[rule]]\nsource='uevnt'\nexec='true'\n", 2, "did you mean 'uevent'"),
    ("[[rule]]\nexec='true'\nsource='route'\n\ngroups=['lnk']\n", 5, "did you mean 'link'"),
    ("[[rule]]\nexec='true'\nsource='route'\ntable=['link', 'adr']\n", 4, "did you mean 'addr'"),
    ("[[rule]]\nexec='true'\nsource='route'\nmatch={ifnam='x'}\n", 4, "did you mean 'ifname'"),
    ("[[rule]]\nexec='true'\nsource='route'\n[rule.match]\nifnam='x'\n", 5, "did you mean 'ifname'"),
    ("[[rule]]\nexec='true'\nsource='route'\nmatch={ifname=['a']}\n", 4, "['a']: must be text, a glob"),
    ("[[rule]]\nexec='true'\nsource='route'\n[rule.match]\nmtu=1\nifname={}\n", 6, "must be text, a glob"),
    ("[[rule]]\nexec='true'\nsource='nflog'\noptions={nope=1}\n", 4, "no option 'nope' of nflog"),
    (
        "[[rule]]\nexec='true'\nsource='nflog'\n[rule.options]\ntimeout=1\ncopy_range=-5\n",
        6,
        "copy_range=-5 of nflog: from",
    ),
    ("[[rule]]\nexec='true'\nsource='bus'\ngroups=[1]\ntrust=['x']\n", 5, "an integer, not 'x'"),
    ("[[rule]]\nexec='true'\nsource='bus'\ngroups=[1]\ntrust='x'\n", 5, "uids, or 'any'"),
    ("[[rule]]\nexec='true'\nsource='route'\nbuffer_events=0\n", 4, "buffer_events=0: from 1 to"),
    ("[[rule]]\nexec='true'\nsource='route'\nbuffer_events=-5\n", 4, "buffer_events=-5: from 1 to"),
    (
        "[[rule]]\nname='a'\nexec='true'\nsource='route'\n[[rule]]\nexec='true'\nname='a'\nsource='proc'\n",
        7,
        "name = 'a': the rule at line 2 has the same name",
    ),
    ("[[rule]]\nexec='true'\nsource='route'\nwhere='mtu >'\n", 4, "at character 6"),
    ("[[rule]]\nexec='true'\nsource='route'\nwhere='mtux > 1'\n", 4, "no column 'mtux'"),
    ("[[rule]]\nexec='true'\nsource='proc'\ntable='exit'\ninitial=true\n", 5, "no snapshot of proc exit"),
    ("[[rule]]\nexec='''\n[[rule]]\nsource=1\n'''\nsource=5\n", 6, "source = 5: must be text"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG)
def test_errors_name_their_line(text: str, line: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(RulesError) as error:
        load(tmp_path, text)
    assert words in str(error.value)
    assert error.value.line == line, str(error.value)
    where = f"{tmp_path}/rules.toml:{line}: " if line else f"{tmp_path}/rules.toml: "
    assert str(error.value).startswith(where)


def test_globs_may_be_numbers_and_names_are_optional(tmp_path: Path) -> None:
    rule = "[[rule]]\nexec='true'\nsource='route'\ntable='link'\nmatch={mtu=1500}\n"
    first, second = load(tmp_path, rule * 2).rules
    assert (first.match, second.name) == ({"mtu": "1500"}, "")


def test_a_missing_or_binary_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="No such file"):
        load_rules(tmp_path / "none.toml", Loop())
    path = tmp_path / "rules.toml"
    path.write_bytes(b"a = 1\n\xff\n")
    with pytest.raises(RulesError, match=r"rules.toml:2: not UTF-8"):
        load_rules(path, Loop())
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(RulesError, match="at most"):
        load_rules(path, Loop())


def test_without_ready_programs_and_modules_may_be_missing(tmp_path: Path) -> None:
    text = "[[rule]]\nsource='uevent'\nexec='./none'\n[[rule]]\nsource='uevent'\npython='none_:f'\n"
    assert [str(rule) for rule in load(tmp_path, text, ready=False).rules] == ["./none", "none_:f"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(GOOD.splitlines()), max_size=12), st.binary(max_size=20))
def test_any_file_gives_rules_or_an_error(tmp_path: Path, lines: list[str], junk: bytes) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes("\n".join(lines).encode() + junk)
    with contextlib.suppress(RulesError):
        load_rules(path, Loop(), ready=False)


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero", "/dev/null"):
        with pytest.raises((RulesError, KernelError), match=r"not a regular file|Is a directory"):
            load_rules(path, Loop(), ready=False)
    with pytest.raises(RulesError, match="not a path"):
        load_rules("a\0b", Loop(), ready=False)
    (tmp_path / "link").symlink_to(tmp_path / "rules.toml")
    (tmp_path / "rules.toml").write_text(GOOD)
    assert load_rules(tmp_path / "link", Loop(), ready=False).rules


# -- the service manager ------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_status_is_reported_to_the_service_manager(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "@nlbus-test-notify" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1) if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        notifier = Notifier()
        for tell in (
            lambda: notifier.ready("2 rules"),
            notifier.reloading,
            notifier.alive,
            notifier.stopping,
        ):
            tell()
        said = [manager.recv(999).decode() for _ in range(4)]
    assert said[0] == "READY=1\nSTATUS=2 rules"
    assert said[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert said[2:] == ["WATCHDOG=1", "STOPPING=1"]
    assert notifier.watchdog == 1.5
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    notifier.alive()  # no receiver any more


def test_without_notify_socket_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    notifier = Notifier()
    notifier.ready("")
    assert notifier.watchdog is None
