"""`nlbus listen`: events and gaps, a line each."""

import time
from typing import Unpack

import click

from nlbus import Subscriber
from nlbus.cli import show
from nlbus.cli.ending import Ending, discard_stdout
from nlbus.cli.listening import Where, listening_options, subscribe
from nlbus.cli.names import Names
from nlbus.cli.output import LOSS_EXIT, QUIET, Lines, totals
from nlbus.cli.viewing import Choice, View, viewing_options
from nlbus.netns import inside
from nlbus.sources import find


@click.command()
@listening_options
@viewing_options
@click.option("--fail-on-loss", is_flag=True, help="Exit with 3, at the end, if anything was lost.")
def listen(
    *, choice: Choice, count: int | None, seconds: float | None, fail_on_loss: bool, **where: Unpack[Where]
) -> None:
    """Print the events of SOURCE, one of those below (see `nlbus sources`).

    Text is one line an event: when (UTC), what has happened, and to what, much as `ip monitor`, `udevadm
    monitor` and `conntrack -E` have it; -v tells all that is known. Messages that are not decoded are told by
    source, groups, type, length and payload, all of them with --raw.

    JSON is one object a line: "time", "time_ns", "source", "groups", "group_names"; "nl_table", "nl_op" (new,
    change, del) and every column that is there, by its name; else "type" and more, and the payload as "text"
    if it is printable UTF-8 on the bus or of audit, else as "hex". Each line is written at once.

    --where compares columns with ==, !=, <, <=, >, >=, ~ (a glob), in (values or a network) and has (a flag);
    and, or, not and parentheses combine these; null is no value.

    What was lost stands in the output too, before the events that came after it: a line `--- gap: ... ---`,
    or an object with "type": "gap", its "cause" ("gap": events of a stream of the bus, exactly; "overrun":
    datagrams that the kernel dropped; "unbuilt": events for which the kernel had no memory; "open": dropped
    datagrams of the bus, and no gap has explained them so far),
    "count", "unit", "exact", "earliest_ns", "latest_ns" and "stream". A line on stderr says that listening
    has begun, another one the totals at the end.

    Ends after --count or --seconds; or with Ctrl-C or SIGTERM, or when nobody reads its output any more,
    which is no error: exit code 0, as with udevadm monitor and tcpdump.

    \b
    nlbus listen bus --group 1 --group 7 --trust 1000 --trust 0
    nlbus listen route                     links, addresses, routes ...
    nlbus listen route -g link -o json | jq -r '.ifname + " " + .operstate'
    nlbus listen route --table route --where 'dst in 10.0.0.0/8'
    nlbus listen route --where 'mtu > 1500' --columns ifname,mtu
    nlbus listen uevent --count 1
    nlbus listen proc                      processes: fork, exec, exit ...
    nlbus listen conntrack -g new,destroy  connections, as netfilter sees them
    nlbus listen nftables                  rules and sets as they change
    nlbus listen nflog -g 5 --option copy_range=96
    nlbus listen xfrm                      IPsec
    nlbus listen sock_diag                 sockets that end
    nlbus listen audit
    nlbus listen packet --where 'dport == 53'   by the kernel module nlbus_packet
    nlbus listen genl:ethtool              any generic netlink family
    nlbus listen route --netns blue        in another network namespace
    nlbus listen raw:usersock --groups 5 --seconds 60 --fail-on-loss
    """
    source = inside(where["netns"], lambda: find(where["source"]))
    names = Names(live=source.name in ("route", "packet"), netns=where["netns"])
    view = View(source, choice, names)
    with subscribe(**where, otherwise=view.groups) as subscriber:
        names.fill()  # after it, or a change between the two would be missed
        writer = _Writer(subscriber, view)
        try:
            with Ending(subscriber) as ending:
                writer.run(ending, count, seconds)
        except BrokenPipeError:
            discard_stdout()
        lost = totals(subscriber.stats(), writer.shown, subscriber.source)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)


class _Writer:
    """Writes events and gaps as they come."""

    def __init__(self, subscriber: Subscriber, view: View) -> None:
        self.shown = 0
        self._subscriber = subscriber
        self._view = view
        self._lines = Lines(view.line)
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
        self._lines.write(show.gaps(batch.loss))
        if batch:
            self.shown += self._lines.write(self._view.records(batch, limit))

    def _tell_open(self) -> None:
        if self._open > self._open_told:
            self._lines.write([show.open_gap(self._open)])
            self._open_told = self._open
