"""Messages on stderr: each is one line, and cannot control the terminal."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from nlbus._text import escape


def report(message: str, color: str | None = None, file: IO[Any] | None = None) -> None:
    """Print `nlbus: MESSAGE` as one line; to `file` instead of stderr if there is one."""
    line = f"nlbus: {escape(message)}"
    click.echo(line if color is None else click.style(line, fg=color), file=file, err=file is None)


class _LogFormatter(logging.Formatter):
    """A record as one line, followed by the lines of its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"nlbus: {escape(record.getMessage())}"
        if record.exc_info:
            text += "\n" + escape(self.formatException(record.exc_info), keep="\n")
        return text


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print what the library logs on stderr, as `report` prints messages."""
    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormatter())
    logger = logging.getLogger("nlbus")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
