"""The service manager is told how we are: sd_notify(3), a datagram to a socket that the environment names."""

from __future__ import annotations

import contextlib
import os
import socket
import time

USEC = 1_000_000


class Notifier:
    """Nothing is told where nobody asked. The programs that we start shall not find whom to tell."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        usec = os.environ.pop("WATCHDOG_USEC", "")
        pid = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
        asked = bool(self._address) and usec.isdigit() and pid == str(os.getpid())
        # Seconds between two signs of life, twice as often as they are missed; None: nobody waits for any.
        self.watchdog = int(usec) / USEC / 2 if asked and int(usec) else None

    def ready(self, status: str) -> None:
        """We listen, maybe again."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The rules are read again; `ready` comes after it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """We end."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """The watchdog need not bark."""
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        path = self._address
        # "@" begins an abstract name. A manager that does not listen is no reason to fail.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
