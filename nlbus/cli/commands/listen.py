"""`nlbus listen`: print events and gaps, one per line."""

from typing import Any

import click

from nlbus.cli.commands.habits import Habitual
from nlbus.cli.shared.action import act
from nlbus.cli.shared.options import (
    fail_on_loss_option,
)
from nlbus.cli.shared.program_options import add_program_options
from nlbus.cli.shared.subscribe_options import add_subscribe_options
from nlbus.cli.shared.view_options import add_view_options


@click.command(cls=Habitual)
@add_subscribe_options
@add_view_options("text", "json", "csv", "arrow", "pcapng")
@add_program_options
@fail_on_loss_option
@click.option(
    "--explain", is_flag=True, help="Print what is opened, and what the kernel filters, instead of events."
)
def listen(**options: Any) -> None:
    """Print the events of SOURCE. `nlbus sources` lists the sources.

    Events of several sources are printed in order of time. Of these, --table, --columns, --where and --match
    select the sources that have such tables and columns; the format is text, json or pcapng.

    Text is one line per event: when (UTC), what happened, and to what, in the manner of `ip monitor`,
    `udevadm monitor` and `conntrack -E`; -v shows all columns, a line each, and --local local times. Messages
    that are not decoded, and all messages with --raw, are shown as source, groups, type, length and payload.

    JSON is one object per line: "time", "time_ns", "source", "groups", "group_names". A decoded message adds
    "nl_table", "nl_op" (new, change, del) and each column that has a value. Any other message adds "type" and
    the payload, as "text" if it is printable UTF-8 of bus or audit, else as "hex". Lines are written at once.

    CSV and Arrow are the rows of one --table, with nl_time and nl_op before the --columns. Arrow needs
    pyarrow: pip install pyarrow. pcapng is what `nlbus record` writes.

    --where compares columns with ==, !=, <, <=, >, >=, ~ (glob), in (values or a network) and has (flag).
    Combine comparisons with and, or, not and parentheses; null means no value.

    Losses are lines too, before the events that followed: `--- gap: ... ---` in text, an object with "type":
    "gap" in JSON. Its "cause" is "gap" (lost events of a bus stream, exact), "overrun" (datagrams that the
    kernel dropped), "unbuilt" (the kernel had no memory for an event) or "open" (datagrams dropped on the bus
    that no gap explains yet). The other keys are "count", "unit", "exact", "earliest_ns", "latest_ns" and
    "stream". With CSV, losses are reported on stderr. Stderr also says when listening has begun, and at the
    end the totals.

    With --exec, nothing is printed: a program runs for each event, one at a time per device or row key. It
    receives the event in its environment: of uevent the variables of the device, as programs of udev rules
    do; of other sources the columns that have a value. NLBUS_SOURCE, NLBUS_TABLE, NLBUS_OP (new, change,
    del), NLBUS_ORIGIN (live, snapshot with --initial, resync after a loss), NLBUS_GROUP and NLBUS_TIME_NS
    describe the event. NLBUS_LOST counts the events lost since the previous one, NLBUS_COUNT the events that
    --debounce merged. A variable whose name the source does not define comes as NLBUS_EVENT_name; variables
    that are too large are named in NLBUS_OMITTED. Exit codes other than 0 are reported on stderr. At the end,
    programs get SIGTERM, and SIGKILL after 2 seconds; --count and --seconds let them finish.

    The group kernel of uevent (the default) delivers events before udev's rules ran, the group udev after.

    Ends after --count or --seconds. Ctrl-C, SIGTERM, a closed terminal (not under nohup) and a closed pipe
    also end it; that is no error, and the exit code is 0.

    \b
    nlbus listen bus --group 1 --group 7 --trust 1000 --trust 0
    nlbus listen route                     links, addresses, routes ...
    nlbus listen route -g link -o json | jq -r '.ifname + " " + .operstate'
    nlbus listen route --table route --where 'dst in 10.0.0.0/8'
    nlbus listen route --where 'mtu > 1500' --columns ifname,mtu
    nlbus listen route -t link --columns ifname,operstate -o csv > links.csv
    nlbus listen route uevent proc conntrack
    nlbus listen uevent --count 1
    nlbus listen uevent -m SUBSYSTEM=net -m 'ACTION=add|remove' --exec ./plug
    nlbus listen route --where 'operstate == down' --exec 'logger down' --initial
    nlbus listen proc                      processes: fork, exec, exit ...
    nlbus listen conntrack -g new,destroy  connections that netfilter tracks
    nlbus listen nftables                  changes of rules and sets
    nlbus listen nflog -g 5 --option copy_range=96
    nlbus listen xfrm                      IPsec
    nlbus listen sock_diag                 sockets that are destroyed
    nlbus listen audit
    nlbus listen packet --where 'dport == 53'   needs the module nlbus_packet
    nlbus listen genl:ethtool              any generic netlink family
    nlbus listen route --netns blue        in another network namespace
    nlbus listen --spec rt-neigh           any YNL spec of the kernel
    nlbus listen raw:usersock --groups 5 --seconds 60 --fail-on-loss
    """
    act("listen", options)
