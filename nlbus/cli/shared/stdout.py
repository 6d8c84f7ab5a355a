"""Writing to stdout: all of a text at once, colour on terminals only, errors as NlbusError."""

import contextlib
import os
import re
import sys

import click

from nlbus._text import escape
from nlbus.errors import kernel_error

# What a line for a terminal may hold beside printable characters: its end, and the styles of `click.style`.
LINE_ENDS_AND_STYLES = r"((?:\n|\x1b\[[0-9;]*m)+)"


def write_all(text: str) -> None:
    """Write and flush lines of text, with their colours on a terminal only. BrokenPipeError, KernelError.

    Values in `text` are escaped already. On a terminal, whatever else is not printable is escaped here.
    """
    if not sys.stdout.isatty() or no_color():
        text = click.unstyle(text)
    if sys.stdout.isatty():
        parts = re.split(LINE_ENDS_AND_STYLES, text)
        text = "".join(part if i % 2 else escape(part) for i, part in enumerate(parts))
    _write(text.encode(sys.stdout.encoding, "backslashreplace"))


def write_encoded(lines: bytes) -> None:
    """The same for lines of UTF-8 without colours, and not for a terminal."""
    if sys.stdout.encoding.lower() in ("utf-8", "utf8") or lines.isascii():
        _write(lines)
    else:
        _write(lines.decode().encode(sys.stdout.encoding, "backslashreplace"))


def write_bytes(data: bytes) -> None:
    """Write and flush bytes as they are: not for terminals. BrokenPipeError, KernelError."""
    _write(data)


def write_unaltered(text: str) -> None:
    """Write and flush text as UTF-8, surrogates as bytes: not for terminals. BrokenPipeError, KernelError."""
    _write(text.encode(errors="surrogateescape"))


def _write(rest: bytes) -> None:
    # With PYTHONUNBUFFERED, sys.stdout.write would drop the rest of a write that a signal interrupts.
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
    """Whether the environment requests text without colour: https://no-color.org."""
    return bool(os.environ.get("NO_COLOR"))


def discard_stdout() -> None:
    """Send what the interpreter still flushes to /dev/null: stdout cannot be written any more."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
