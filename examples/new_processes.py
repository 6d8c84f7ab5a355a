"""Programs as they start: the process, its parent, the user, the command line.

    sudo python examples/new_processes.py              all
    sudo python examples/new_processes.py 'ssh*'       only programs whose file name matches

A process that ended before we looked has no command line any more; it is reported as gone.
"""

import contextlib
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from nlbus import Listener, NlbusError

GLOB = sys.argv[1] if len(sys.argv) > 1 else "*"

app = Listener()


@app.on("proc", table="exec")
def started(event: dict[str, Any]) -> None:
    """Print the process, from /proc."""
    pid = event["process_tgid"]
    if "nl_lost" in event:
        print(f"{event['nl_lost']} messages were lost before this", flush=True)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        if GLOB == "*":
            print(f"{pid}: gone already", flush=True)
        return
    command = [word.decode(errors="backslashreplace") for word in words]
    if fnmatch(Path(command[0]).name, GLOB):
        user, parent = status["Uid"].split()[0], status["PPid"]
        print(f"{pid}: parent {parent}, uid {user}: {' '.join(map(repr, command))}", flush=True)


try:
    with contextlib.suppress(KeyboardInterrupt):
        app.run()
except NlbusError as error:
    sys.exit(str(error))
