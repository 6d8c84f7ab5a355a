"""`nlbus demo`: what nlbus does, in ten seconds, in a network namespace of its own."""

import os
import sys

import click

from nlbus.cli.demo.environment import NETNS, child_environment, unshare_command


@click.command()
def demo() -> None:
    """Show kernel events and the bus at full rate, with every loss counted, in about ten seconds.

    First a veth pair, addresses and routes are made and removed, and the kernel's events arrive as arrays.
    Then one process publishes as fast as it can to three that listen to different, overlapping groups; a
    table tells what each stream sent, and each subscriber got and lost. Last, receiving in Python is
    measured against a loop in C on the same datagrams (if there is a C compiler, in a checkout).

    All of it happens in new network and mount namespaces, which end with it: as root, or, through
    `unshare -Urnm`, as any user. Nothing of this host's network is touched.

    \b
    nlbus demo
    nlbus demo | less -R
    """
    way = unshare_command()
    sys.stdout.flush()
    command = [*way, sys.executable, "-m", "nlbus.cli.demo.stage", str(NETNS.readlink())]
    os.execvpe(command[0], command, child_environment())
