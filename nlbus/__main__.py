"""`python -m nlbus`: the command line."""

from nlbus.cli import run

run()
