"""Messages on stderr: each is one line, and cannot control the terminal."""

from typing import IO, Any

import click

from nlbus._text import escape


def report(message: str, color: str | None = None, file: IO[Any] | None = None) -> None:
    """Print `nlbus: MESSAGE` as one line; to `file` instead of stderr if there is one."""
    line = f"nlbus: {escape(message)}"
    click.echo(line if color is None else click.style(line, fg=color), file=file, err=file is None)
