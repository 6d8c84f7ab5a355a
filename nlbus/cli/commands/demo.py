"""`nlbus demo`: show in ten seconds what nlbus does, in a network namespace of its own."""

import os
import sys

import click

from nlbus.cli.demo.environment import NETNS, child_environment, unshare_command


@click.command()
def demo() -> None:
    """Show kernel events and the bus at full rate, with every loss counted, in about ten seconds.

    First it creates and removes a veth pair, addresses and routes, and shows the kernel's events as arrays.
    Then one process publishes as fast as it can to three subscribers with different, overlapping groups; a
    table compares what each stream sent with what each subscriber received and lost. Last, it measures
    receiving in Python against a C loop on the same datagrams (in a checkout, with a C compiler).

    It runs in new network and mount namespaces and does not touch the network of this host. Root and, through
    `unshare -Urnm`, any user can run it.

    \b
    nlbus demo
    nlbus demo | less -R
    """
    way = unshare_command()
    sys.stdout.flush()
    command = [*way, sys.executable, "-m", "nlbus.cli.demo.stage", str(NETNS.readlink())]
    os.execvpe(command[0], command, child_environment())
