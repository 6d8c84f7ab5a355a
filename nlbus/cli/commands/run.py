"""`nlbus run`: run a rules file as a service."""

from typing import Any

import click

from nlbus.cli.shared.action import act


@click.command()
@click.argument("file")
@click.option("--check", is_flag=True, help="Check FILE, report errors, and exit.")
def run(**options: Any) -> None:
    """Run programs and Python functions for events, by the rules in FILE.

    \b
    workers = 4                  # handlers at a time
    queue = 1024                 # waiting events; overflow = "drop" drops more
    [[rule]]
    source = "uevent"            # as of `nlbus listen`; also table, netns ...
    groups = ["udev"]            # after udev's rules; "kernel": before them
    match = { ACTION = "add", SUBSYSTEM = "net" }
    exec = "./plug.sh --fast"    # or a list; shell = true: a script of /bin/sh
    timeout = 30                 # seconds
    initial = true               # current objects are delivered first
    [[rule]]
    source = "route"
    where = 'operstate == down and ifname ~ "eth*"'
    debounce = 0.5               # seconds of quiet
    python = "alarms:link_down"  # MODULE:FUNCTION; the module may be beside FILE

    Programs receive the event in their environment (see `nlbus listen --help`) and run in the folder of FILE.
    The whole FILE is checked before anything runs; an error names the line. SIGHUP reloads it: if it is
    wrong, the old rules stay, and the log says why. A reload does not import modules again and does not
    change workers, queue and overflow.

    SIGTERM and Ctrl-C end it: programs get SIGTERM, and SIGKILL after 2 seconds. It reports its status to
    systemd and answers the watchdog (Type=notify; systemd/nlbus-run.service).

    \b
    nlbus run --check rules.toml
    nlbus run rules.toml
    nlbus test rules.toml flap.pcapng    show what would run for these events
    """
    act("run", options)
