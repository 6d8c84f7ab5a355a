"""`nlbus listen`: events and gaps, a line each."""

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import click

from nlbus import Subscriber
from nlbus.cli import show
from nlbus.cli.ending import Ending, discard_stdout, write_all
from nlbus.cli.options import flat, group_list, setting, uid
from nlbus.sources import Source, find, group_names

LOSS_EXIT = 3
QUIET = 0.5  # seconds without an event until dropped datagrams that nothing explains are told
CHUNK = 128  # lines a write, at most


@click.command()
@click.argument("source")
@click.option(
    "-g", "--group", "--groups", "groups", type=group_list, multiple=True, metavar="G,...",
    help="Groups by name or number; may be given several times. Without it, the source's default groups.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text",
    help="A line for people, or a JSON object a line.",
)  # fmt: skip
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="End after exactly N events.")
@click.option("-s", "--seconds", type=click.FloatRange(0), metavar="S", help="End after S seconds.")
@click.option(
    "--buffer-events", type=click.IntRange(1), metavar="N",
    help="Let the kernel's receive buffer hold N events sent one by one (64 MB without it).",
)  # fmt: skip
@click.option(
    "--trust", type=uid, multiple=True, metavar="UID|any",
    help="Where processes publish, believe these users instead of ourselves and root; repeatable.",
)  # fmt: skip
@click.option(
    "--option", "options", type=setting, multiple=True, metavar="NAME=VALUE",
    help="An option of the source (`nlbus sources` lists them), a number; repeatable.",
)  # fmt: skip
@click.option("--fail-on-loss", is_flag=True, help="Exit with 3, at the end, if anything was lost.")
def listen(
    *,
    source: str,
    groups: tuple[list[str], ...],
    output: str,
    count: int | None,
    seconds: float | None,
    buffer_events: int | None,
    trust: tuple[int | None, ...],
    options: tuple[tuple[str, float], ...],
    fail_on_loss: bool,
) -> None:
    """Print the events of SOURCE, one of those below (see `nlbus sources`).

    Text is one line an event: time (UTC), source, groups, type, length of the payload, payload. JSON has
    the same and more, one object a line: the payload as "text" if it is printable UTF-8 on the bus or of
    audit, else as "hex"; uevents as "action", "devpath" and "env", process events as "event" and "fields",
    of generic netlink the "cmd" beside it. Each line is written at once.

    What was lost stands in the output too, before the events that came after it: a line `--- gap: ... ---`,
    or an object with "type": "gap", its "cause" ("gap": events of a stream of the bus, exactly; "overrun":
    datagrams that the kernel dropped; "open": the same, on the bus, and no gap has explained them so far),
    "count", "unit", "exact", "earliest_ns", "latest_ns" and "stream". A line on stderr says that listening
    has begun, another one the totals at the end.

    Ends after --count or --seconds; or with Ctrl-C or SIGTERM, or when nobody reads its output any more,
    which is no error: exit code 0, as with udevadm monitor and tcpdump.

    \b
    nlbus listen bus --group 1 --group 7 --trust 1000 --trust 0
    nlbus listen route --group link,ipv4_route -o json | jq .type_name
    nlbus listen uevent --count 1
    nlbus listen proc                      processes: fork, exec, exit ...
    nlbus listen conntrack -g new,destroy  connections, as netfilter sees them
    nlbus listen nftables                  rules and sets as they change
    nlbus listen nflog -g 5 --option copy_range=96
    nlbus listen xfrm                      IPsec
    nlbus listen sock_diag                 sockets that end
    nlbus listen audit
    nlbus listen genl:ethtool              any generic netlink family
    nlbus listen raw:usersock --groups 5 --seconds 60 --fail-on-loss
    """
    where = find(source)
    if not groups and not where.default:
        raise click.UsageError(f"{where.name} has no default groups: give some, as in --group 1,7")
    with _subscribe(where, groups, buffer_events, trust, dict(options)) as subscriber:
        writer = _Writer(where, subscriber, show.as_json if output == "json" else show.as_text)
        try:
            with Ending(subscriber) as ending:
                writer.run(ending, count, seconds)
        except BrokenPipeError:
            discard_stdout()
        lost = _totals(subscriber.stats(), writer.shown, where)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)


def _subscribe(
    where: Source,
    groups: tuple[list[str], ...],
    buffer_events: int | None,
    trust: tuple[int | None, ...],
    options: dict[str, float],
) -> Subscriber:
    uids: Any = None
    if trust:
        uids = "any" if None in trust else trust
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subscriber = Subscriber(
            where.name,
            flat(groups) or None,
            trust=uids,
            buffer_events=buffer_events,
            options=options,
            on_loss="ignore",
        )
    for warning in caught:
        click.echo(f"nlbus: {warning.message}", err=True)
    names = ", ".join(group_names(where, subscriber.groups))
    click.echo(f"nlbus: listening to {where.name}, groups {names}", err=True)
    return subscriber


class _Writer:
    """Writes events and gaps as they come."""

    def __init__(self, source: Source, subscriber: Subscriber, line: Callable[[show.Record], str]) -> None:
        self.shown = 0
        self._source = source
        self._subscriber = subscriber
        self._line = line
        self._open = 0  # dropped datagrams that nothing explains, as far as now known
        self._open_told = 0

    def run(self, ending: Ending, count: int | None, seconds: float | None) -> None:
        """Until `count` events were shown, `seconds` are up, or it is over. BrokenPipeError."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not ending.over and (count is None or self.shown < count):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            untold = self._open > self._open_told
            if untold and (left is None or left > QUIET):
                left = QUIET
            if ending.wait(left):
                self._batch(None if count is None else count - self.shown)
            elif untold:
                self._tell_open()
        self._open = self._subscriber.stats()["open"]
        self._tell_open()

    def _batch(self, limit: int | None) -> None:
        batch = self._subscriber.recv(timeout=0)
        self._open = batch.loss.open
        self._open_told = min(self._open_told, self._open)
        self._write(show.gaps(batch.loss))
        if batch:
            self.shown += self._write(show.events(self._source, batch, limit))

    def _tell_open(self) -> None:
        if self._open > self._open_told:
            self._write([show.open_gap(self._open)])
            self._open_told = self._open

    def _write(self, records: Iterable[show.Record]) -> int:
        """Write and flush them, many lines at a time if they are there already. How many it were."""
        written = 0
        lines: list[str] = []
        for record in records:
            lines.append(self._line(record))
            if len(lines) == CHUNK:
                write_all("\n".join(lines) + "\n")
                written += len(lines)
                lines.clear()
        if lines:
            write_all("\n".join(lines) + "\n")
        return written + len(lines)


def _totals(stats: dict[str, Any], shown: int, source: Source) -> bool:
    """Say on stderr what was shown and what not; whether anything was lost."""
    lost, dropped, still_open = stats["lost"], stats["dropped"], stats["open"]
    parts = [f"{shown} events", f"{lost} lost", f"{dropped} dropped", f"{still_open} open"]
    parts += [
        f"{stats[name]} {name}" for name in ("malformed", "foreign", "untrusted", "truncated") if stats[name]
    ]
    click.echo(f"nlbus: {', '.join(parts)}", err=True)
    # On the bus a dropped datagram may have been one of several copies: the ledger knows.
    return bool(lost or still_open or (dropped and source.framing != "bus"))
