"""A filter in numpy: per source, 10 new TCP connections a second pass, the others are dropped.

iptables -A INPUT -p tcp --syn -j NFQUEUE --queue-num 3 --queue-bypass
python3 examples/packet_filter.py
"""

import contextlib

import numpy as np

from nlbus import Subscriber

MOST = 10
made = np.zeros(1 << 16, np.uint32)  # connections in this second, by the last two bytes of the source
now = 0
sub = Subscriber("nfqueue", groups=3, options={"copy_range": 64}, at_close="accept")
with contextlib.suppress(KeyboardInterrupt), sub:
    for batch in sub:
        if now != (now := batch.time_ns // 10**9):
            made[:] = 0
        packets = batch.table("packet")
        source = packets["src"].view("u1").reshape(-1, 16)[:, 14:].astype(np.uint16) @ np.uint16([256, 1])
        np.add.at(made, source, 1)
        passes = made[source] <= MOST
        sub.verdict(batch, accept=passes)
        if not passes.all():
            print(f"dropped {(~passes).sum()} of {len(passes)}", flush=True)
