"""Files of rules: TOML, checked as a whole before anything runs; errors name the line.

workers = 4                    # handlers that run at the same time
queue = 1024                   # events that may wait for one
overflow = "block"             # or "drop"

[[rule]]
name = "hotplug"
source = "uevent"
groups = ["udev"]              # as for a Subscriber; also table, netns, options, trust, buffer_events
match = { ACTION = "add", SUBSYSTEM = "net" }
where = "ifindex > 1"
exec = "./hotplug.sh --fast"   # or a list of words; with shell = true a script for /bin/sh
timeout = 30                   # seconds
debounce = 0.5                 # seconds
initial = true

[[rule]]
source = "route"
table = "link"
python = "alarms:flap"         # module:function; the module may lie beside the file
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbus.errors import NlbusError, SchemaError, kernel_error
from nlbus.kernel.arguments import whole
from nlbus.listener.command import TIMEOUT, Command
from nlbus.listener.dispatch import MAX_QUEUE, MAX_WORKERS
from nlbus.listener.events import as_text
from nlbus.listener.function import Function, Loop, entry_point
from nlbus.listener.rule import Rule
from nlbus.sources import did_you_mean
from nlbus.table.conditions import parse

if TYPE_CHECKING:
    from nlbus.listener.events import Event
    from nlbus.table.expressions import Expression

LARGEST = 256 << 10  # bytes per file

Kinds = Mapping[str, tuple[type, ...]]

NUMBER = (int, float)
TOP: Kinds = {"workers": (int,), "queue": (int,), "overflow": (str,), "rule": (list,)}
RULE: Kinds = {
    "name": (str,), "source": (str,), "groups": (list, str, int), "table": (str, list), "match": (dict,),
    "where": (str,), "exec": (str, list), "shell": (bool,), "timeout": NUMBER, "python": (str,),
    "debounce": NUMBER, "initial": (bool,), "repair": (bool,), "netns": (str, int), "options": (dict,),
    "trust": (list, str), "buffer_events": (int,),
}  # fmt: skip
HOW = ("options", "trust", "buffer_events")  # keywords of a Subscriber
WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
    bool: "true or false",
}


class RulesError(SchemaError):
    """A file of rules is wrong at `.line` (from 1; 0: no particular line) of `.path`."""

    def __init__(self, path: str, line: int, words: str) -> None:
        super().__init__(f"{path}:{line}: {words}" if line else f"{path}: {words}")
        self.path = path
        self.line = line


@dataclass(frozen=True)
class Rules:
    """The content of a file: the rules, and the limits that they share."""

    rules: list[Rule]
    workers: int
    queue: int
    overflow: str


def load_rules(path: str | os.PathLike[str], loop: Loop, *, ready: bool = True) -> Rules:
    """Read a file of rules. RulesError; KernelError if it cannot be read.

    ready: also check that the programs exist, and import the modules.
    """
    file = Path(path)
    return _File(file, _read(file), loop, ready).rules()


def _read(file: Path) -> bytes:
    """The bytes of a regular file, which may be no larger than LARGEST. RulesError, KernelError."""
    try:
        # Opening a FIFO would wait for a writer.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise RulesError(str(file), 0, "not a regular file")
            raw = opened.read(LARGEST + 1)
    except OSError as error:
        raise kernel_error(error.errno or 0, f"reading {file}") from error
    except ValueError as error:
        if isinstance(error, RulesError):
            raise
        raise RulesError(repr(str(file)), 0, f"not a path: {error}") from None
    if len(raw) > LARGEST:
        raise RulesError(str(file), 0, f"a file of rules has at most {LARGEST} bytes")
    return raw


class _File:
    def __init__(self, path: Path, raw: bytes, loop: Loop, ready: bool) -> None:
        self._path = path
        self._loop = loop
        self._ready = ready
        try:
            self._text = raw.decode()
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise RulesError(str(path), line, "not UTF-8") from None
        try:
            self._parsed: dict[str, Any] = tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            found = re.search(r"at line (\d+)", str(error))
            line = int(found[1]) if found else self._text.count("\n") + 1
            raise RulesError(str(path), line, f"not TOML: {error}") from None

    def rules(self) -> Rules:
        """The rules and limits, checked."""
        top = self._checked(self._parsed, TOP, None)
        tables = top.get("rule", [])
        if not tables:
            raise self._error("it has no [[rule]]", None)
        found = [self._rule(number, table) for number, table in enumerate(tables)]
        self._check_names(found)
        workers, queue, overflow = top.get("workers", 4), top.get("queue", 1024), top.get("overflow", "block")
        for name, number, highest in (("workers", workers, MAX_WORKERS), ("queue", queue, MAX_QUEUE)):
            try:
                whole(number, name, 1, highest)
            except SchemaError as error:
                raise self._error(str(error), None, name) from None
        if overflow not in ("block", "drop"):
            raise self._error(f"overflow = {overflow!r}: must be block or drop", None, "overflow")
        return Rules(found, workers, queue, overflow)

    def _rule(self, number: int, table: Any) -> Rule:
        if not isinstance(table, dict):
            raise self._error("rule is a list of tables: [[rule]]", None, "rule")
        values = self._checked(table, RULE, number)
        if "source" not in values:
            raise self._error("a rule needs a source", number)
        if ("exec" in values) == ("python" in values):
            raise self._error("a rule needs either exec or python", number)
        if values.get("name") == "":
            raise self._error("name is empty", number, "name")
        handler = self._handler(number, values)
        where = self._condition(number, values["where"]) if "where" in values else None
        match = self._match(number, values.get("match", {}))
        try:
            return Rule(
                source=values["source"],
                handler=handler,
                name=values.get("name", ""),
                groups=values.get("groups"),
                tables=values.get("table"),
                match=match,
                where=where,
                debounce=values.get("debounce", 0.0),
                initial=values.get("initial", False),
                repair=values.get("repair"),
                netns=values.get("netns"),
                settings={name: values[name] for name in HOW if name in values},
            )
        except NlbusError as error:
            raise self._error(_words(error), number, *self._suspect(error, values)) from error

    def _check_names(self, rules: list[Rule]) -> None:
        first: dict[str, int] = {}
        for number, rule in enumerate(rules):
            if rule.name and first.setdefault(rule.name, number) != number:
                line = self._line(first[rule.name], "name")
                raise self._error(
                    f"name = {rule.name!r}: the rule at line {line} has the same name", number, "name"
                )

    def _match(self, number: int, globs: Mapping[str, Any]) -> dict[str, str]:
        for key, glob in globs.items():
            if not isinstance(glob, (str, int, float)):
                words = f"match of {key} = {glob!r}: must be text, a glob; a|b matches either"
                raise self._error(words, number, "match", key)
        return {key: as_text(glob) for key, glob in globs.items()}

    def _handler(self, number: int, values: Mapping[str, Any]) -> Command | Function:
        if "python" in values:
            if given := [name for name in ("shell", "timeout") if name in values]:
                raise self._error(f"{given[0]} goes with exec, not with python", number, given[0])
            return self._function(number, values["python"])
        folder = self._path.absolute().parent

        try:
            command = Command(
                values["exec"],
                shell=values.get("shell", False),
                timeout=values.get("timeout", TIMEOUT),
                folder=folder,
            )
            if self._ready:
                command.check()
        except NlbusError as error:
            raise self._error(
                _words(error), number, "timeout" if "timeout" in str(error) else "exec"
            ) from error
        return command

    def _function(self, number: int, name: str) -> Function:
        folder = str(self._path.absolute().parent)
        if self._ready and folder not in sys.path:
            sys.path.append(folder)
        try:
            return Function(entry_point(name) if self._ready else _nothing, self._loop, name)
        except NlbusError as error:
            raise self._error(_words(error), number, "python") from error

    def _condition(self, number: int, text: str) -> Expression:
        try:
            return parse(text)
        except NlbusError as error:
            raise self._error(_words(error), number, "where") from error

    def _checked(self, table: dict[str, Any], known: Kinds, number: int | None) -> dict[str, Any]:
        for key, value in table.items():
            if key not in known:
                hint = f"{did_you_mean(key, known)}; keys are {', '.join(known)}"
                raise self._error(f"no key {key!r}{hint}", number, key)
            kinds = known[key]
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                words = " or ".join(WORDS[kind] for kind in kinds if kind is not int or float not in kinds)
                raise self._error(f"{key} = {value!r}: must be {words}", number, key)
        return table

    def _suspect(self, error: NlbusError, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The key that most likely caused the error, and the key within its table."""
        words = _words(error)
        for key, value in values.items():
            names: Iterable[object] = value if isinstance(value, dict | list) else [value]
            if key == "where":
                names = parse(value).columns
            for name in names:
                if isinstance(name, str) and name and (repr(name) in words or f"option {name}=" in words):
                    return (key, name) if isinstance(value, dict) else (key,)
        return (next((key for key in values if words.startswith(key)), "source"),)

    # -- line numbers -------------------------------------------------------------------------------

    def _error(self, words: str, number: int | None, *keys: str) -> RulesError:
        return RulesError(str(self._path), self._line(number, *keys), words)

    def _line(self, number: int | None, *keys: str) -> int:
        """The line of a key of this rule, or of the file; the rule's own line if there is none; 0: unknown.

        keys: a second one is a key within the first one's table. tomllib reports no lines, so this finds the
        line: the text before it parses without the key, the text up to its end parses with it.
        """
        lines = self._text.splitlines(keepends=True)
        start = 0
        if number is not None:
            start = _first(lines, 0, "[[", lambda parsed: len(parsed.get("rule", [])) > number)
        if not keys:
            return start

        def there(parsed: Any) -> bool:
            within = parsed if number is None else parsed["rule"][number]
            for key in keys:
                if key not in within:
                    return False
                within = within[key]
            return True

        return _first(lines, start, "", there) or start


def _first(lines: list[str], start: int, prefix: str, there: Callable[[dict[str, Any]], bool]) -> int:
    """The first line, from 1, up to which the text parses and `there` holds: where the value begins. 0: none.

    Only lines after `start` that begin with `prefix` are tried.
    """
    last = start
    for end in range(start + 1, len(lines) + 1):
        if not lines[end - 1].startswith(prefix):
            continue
        try:
            parsed = tomllib.loads("".join(lines[:end]))
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        if there(parsed):
            return end if prefix else last + 1
        last = end
    return 0


def _words(error: NlbusError) -> str:
    return str(getattr(error, "strerror", None) or error)


def _nothing(event: Event) -> None:
    """A placeholder that is never called."""
