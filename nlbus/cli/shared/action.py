"""Doing what a command does: imported only when it runs."""

import gc
import signal
from importlib import import_module
from typing import Any

from nlbus.cli.shared.interrupt import leave


def act(module: str, options: dict[str, Any], name: str = "") -> None:
    """Call the function of this name, by default that of its module, of `actions/` with the options.

    While it runs, Ctrl-C raises KeyboardInterrupt. Before and after it ends the process, see `nlbus.cli.run`.
    """
    function = getattr(import_module(f"nlbus.cli.actions.{module}"), name or module)
    if not gc.isenabled():  # see `nlbus.cli.run`
        gc.freeze()
        gc.enable()
    if signal.getsignal(signal.SIGINT) is not leave:
        function(**options)
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        function(**options)
    finally:
        signal.signal(signal.SIGINT, leave)
