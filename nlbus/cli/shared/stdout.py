"""Writing to stdout: whole lines, colour on terminals only, errors as NlbusError."""

import contextlib
import os
import sys

import click

from nlbus.errors import kernel_error


def write_all(text: str) -> None:
    """Write and flush, whole, whatever interrupts; with colour on a terminal. BrokenPipeError, KernelError.

    With PYTHONUNBUFFERED, sys.stdout.write would forget the rest of a write that a signal cut short.
    """
    if not sys.stdout.isatty() or no_color():
        text = click.unstyle(text)
    rest = text.encode(sys.stdout.encoding, "backslashreplace")
    try:
        while rest:
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise kernel_error(error.errno or 0, "writing to stdout") from error


def no_color() -> bool:
    """Whether the environment asks for text without colour: https://no-color.org."""
    return bool(os.environ.get("NO_COLOR"))


def discard_stdout() -> None:
    """Nothing more can be written: what the interpreter still flushes goes nowhere, without a complaint."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
