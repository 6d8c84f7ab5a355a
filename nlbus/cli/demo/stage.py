"""The demo itself, once in namespaces of its own: `nlbus demo` starts this as a program."""

import os
import sys

import click

from nlbus import NlbusError
from nlbus.cli.demo import bus, kernel, ratio
from nlbus.cli.demo.environment import NETNS


def heading(text: str) -> None:
    """Print a heading."""
    click.secho(f"\n{text}", bold=True)


def main(host: str) -> None:
    """Play the demo. `host` is the network namespace that it must not be in."""
    if str(NETNS.readlink()) == host:
        sys.exit("nlbus: this is still the network namespace of the caller: start it as `nlbus demo`")
    heading("1. Events of the kernel, as arrays")
    kernel.show()
    heading("2. The bus at full rate: one publisher, three subscribers")
    bus.show()
    heading("3. Receiving in Python beside a loop in C, on the same datagrams")
    ratio.show()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except NlbusError as error:
        sys.exit(f"nlbus: {error}")
