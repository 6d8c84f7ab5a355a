"""An alarm for links whose carrier comes and goes.

python examples/link_flap.py                 more than 5 changes in 10 seconds
python examples/link_flap.py 3 60            more than 3 in a minute
"""

import contextlib
import sys
from collections import defaultdict, deque
from typing import Any

from nlbus import Listener, NlbusError

CHANGES = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0

app = Listener()
carrier: dict[int, bool] = {}
changes: defaultdict[int, deque[float]] = defaultdict(deque)


# With `initial`, the first change is known to be one. Events of one link come one after the other: no lock.
@app.on("route", table="link", initial=True)
def link(event: dict[str, Any]) -> None:
    """Count the changes of a link's carrier."""
    index, now = event["ifindex"], event["nl_time"] / 1e9
    if event["nl_op"] == "del":
        carrier.pop(index, None)
        changes.pop(index, None)
        return
    here = "lower_up" in event.get("flags", [])
    if carrier.setdefault(index, here) == here:
        return
    carrier[index] = here
    times = changes[index]
    times.append(now)
    while times[0] < now - SECONDS:
        times.popleft()
    if len(times) > CHANGES:
        lost = f", and {event['nl_lost']} messages were lost" if "nl_lost" in event else ""
        print(f"{event['ifname']} flaps: {len(times)} changes in {SECONDS:g} seconds{lost}", flush=True)
        times.clear()  # report again only after that many more changes


try:
    with contextlib.suppress(KeyboardInterrupt):
        app.run()
except NlbusError as error:
    sys.exit(str(error))
