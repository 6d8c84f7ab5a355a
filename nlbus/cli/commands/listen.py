"""`nlbus listen`: events and gaps, a line each."""

from typing import Unpack

import click

from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.view import OF_ONE_TABLE, View, ViewOptions
from nlbus.cli.shared.follow import LOSS_EXIT, fail_on_loss_option, follow, totals
from nlbus.cli.shared.output import check_binary
from nlbus.cli.shared.programs import ProgramOptions, add_program_options, run_program
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.sinks import stdout_sink
from nlbus.cli.shared.stdout import discard_stdout
from nlbus.cli.shared.subscribe import SubscribeOptions, add_subscribe_options, subscribe
from nlbus.cli.shared.view_options import add_view_options
from nlbus.kernel.netns import inside
from nlbus.sources import find


@click.command()
@add_subscribe_options
@add_view_options("text", "json", "csv", "arrow", "pcapng")
@add_program_options
@fail_on_loss_option
def listen(
    *,
    view_options: ViewOptions,
    program_options: ProgramOptions,
    count: int | None,
    seconds: float | None,
    fail_on_loss: bool,
    **subscription: Unpack[SubscribeOptions],
) -> None:
    """Print the events of SOURCE, one of those below (see `nlbus sources`).

    Text is one line an event: when (UTC), what has happened, and to what, much as `ip monitor`, `udevadm
    monitor` and `conntrack -E` have it; -v tells all that is known. Messages that are not decoded are told by
    source, groups, type, length and payload, all of them with --raw.

    JSON is one object a line: "time", "time_ns", "source", "groups", "group_names"; "nl_table", "nl_op" (new,
    change, del) and every column that is there, by its name; else "type" and more, and the payload as "text"
    if it is printable UTF-8 on the bus or of audit, else as "hex". Each line is written at once.

    csv and arrow are the rows of one --table, with nl_time and nl_op before the --columns; arrow needs
    pyarrow: pip install 'nlbus[parquet]'. pcapng is what `nlbus record` writes.

    --where compares columns with ==, !=, <, <=, >, >=, ~ (a glob), in (values or a network) and has (a flag);
    and, or, not and parentheses combine these; null is no value.

    What was lost stands in text and JSON too, before the events that came after it: a line `--- gap: ...
    ---`, or an object with "type": "gap", its "cause" ("gap": events of a stream of the bus, exactly;
    "overrun": datagrams that the kernel dropped; "unbuilt": events for which the kernel had no memory;
    "open": dropped datagrams of the bus, and no gap has explained them so far),
    "count", "unit", "exact", "earliest_ns", "latest_ns" and "stream". A line on stderr says that listening
    has begun, another one the totals at the end.

    With --exec, nothing is printed: a program is run for each event, those of one device, or key of a row,
    one after the other. It finds the event in its environment: of uevent the variables of the device, as
    programs of udev rules do; elsewhere the columns that have a value. NLBUS_SOURCE, NLBUS_TABLE, NLBUS_OP
    (new, change, del), NLBUS_ORIGIN (live; snapshot, of --initial; resync, after a loss), NLBUS_GROUP and
    NLBUS_TIME_NS tell more; NLBUS_LOST how many were lost since the last one, NLBUS_COUNT of how many a
    debounced one is the last. Keys that programs obey, such as PATH or LD_PRELOAD, come as NLBUS_EVENT_PATH;
    what is too large is named in NLBUS_OMITTED. Exit codes other than 0 come on stderr. At the end, programs
    get SIGTERM, and SIGKILL 2 seconds later; --count and --seconds let them finish.

    Of uevent, group kernel (the default) is heard before the rules of udev, group udev after them.

    Ends after --count or --seconds; or with Ctrl-C, SIGTERM or its terminal (not under nohup), or when nobody
    reads its output any more, which is no error: exit code 0, as with udevadm monitor and tcpdump.

    \b
    nlbus listen bus --group 1 --group 7 --trust 1000 --trust 0
    nlbus listen route                     links, addresses, routes ...
    nlbus listen route -g link -o json | jq -r '.ifname + " " + .operstate'
    nlbus listen route --table route --where 'dst in 10.0.0.0/8'
    nlbus listen route --where 'mtu > 1500' --columns ifname,mtu
    nlbus listen route -t link --columns ifname,operstate -o csv > links.csv
    nlbus listen uevent --count 1
    nlbus listen uevent -m SUBSYSTEM=net -m 'ACTION=add|remove' --exec ./plug
    nlbus listen route --where 'operstate == down' --exec 'logger down' --initial
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
    if program_options.command is not None:
        lost = run_program(view_options, program_options, count, seconds, subscription)
        if lost and fail_on_loss:
            raise click.exceptions.Exit(LOSS_EXIT)
        return
    check_binary(view_options.output)
    if program_options.initial and view_options.output == "pcapng":
        raise click.UsageError("a capture has only what happened: no --initial")
    source = inside(subscription["netns"], lambda: find(subscription["source"]))
    names = InterfaceNames(live=source.name in ("route", "packet"), netns=subscription["netns"])
    view = View(source, view_options, names)
    if view_options.output in OF_ONE_TABLE:
        view.only  # noqa: B018 - raises before anything is joined
    with subscribe(
        **subscription, otherwise=view.groups, snapshot=view.present(program_options.initial)
    ) as subscriber:
        names.fill()  # after it, or a change between the two would be missed
        sink = None
        try:
            sink = stdout_sink(view_options.output, subscriber, view, lambda _: view)
            with Shutdown(subscriber) as shutdown:
                follow(subscriber, sink, shutdown, count, seconds)
        except BrokenPipeError:
            discard_stdout()
        lost = totals(subscriber.stats(), sink, subscriber.source)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)
