"""An alarm for hosts that try many ports, from the connections that netfilter tracks.

    sudo python examples/port_scan.py                  more than 20 ports in 10 seconds
    sudo python examples/port_scan.py 100 60           more than 100 in a minute

conntrack reports connections once a rule looks at them: `nft add rule inet filter input ct state new`.
If events were lost, the true number of ports may be higher than the reported one, never lower.
"""

import contextlib
import sys
from collections import defaultdict
from typing import Any

from nlbus import Listener, NlbusError

PORTS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
HOSTS = 10_000  # remembered at most, so that a flood of invented hosts does not fill the memory

app = Listener()
tried: defaultdict[str, dict[tuple[str, int], float]] = defaultdict(dict)  # by source: (host, port) and when
lost = 0


# All calls share `tried`, so there is one worker.
@app.on("conntrack", table="conntrack", groups="new")
def connection(event: dict[str, Any]) -> None:
    """Remember the host and port that it tried, and count."""
    global lost  # noqa: PLW0603
    lost += event.get("nl_lost", 0)
    source, now = event.get("orig_src"), event["nl_time"] / 1e9
    if source is None or "orig_dport" not in event:
        return
    if len(tried) >= HOSTS and source not in tried:
        del tried[next(iter(tried))]
    ports = tried[source]
    ports[event["orig_dst"], event["orig_dport"]] = now
    for place in [place for place, when in ports.items() if when < now - SECONDS]:
        del ports[place]
    if len(ports) > PORTS:
        also = f" ({lost} events were lost)" if lost else ""
        print(f"{source} tried {len(ports)} ports in {SECONDS:g} seconds{also}", flush=True)
        del tried[source]  # report again only after that many more ports


try:
    with contextlib.suppress(KeyboardInterrupt):
        app.run(workers=1)
except NlbusError as error:
    sys.exit(str(error))
