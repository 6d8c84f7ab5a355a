"""`python -m nlbus`: the command line."""

from nlbus.cli import run

if __name__ == "__main__":
    run()
