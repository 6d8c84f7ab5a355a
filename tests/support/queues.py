"""Rules that send packets to a queue."""

import shutil
import subprocess

import pytest


def queue_packets(queue: int, *match: str) -> None:
    """Send packets that come in to this queue, by a rule with these words of iptables; without it, skip."""
    tool = shutil.which("iptables-legacy", path="/usr/sbin:/sbin:/usr/bin")
    if tool is None:
        pytest.skip("no `iptables-legacy` command: install iptables")
    bypass = [word for word in match if word == "--queue-bypass"]
    matching = [word for word in match if word not in bypass]
    command = [
        tool,
        "-t",
        "raw",
        "-A",
        "PREROUTING",
        *matching,
        "-j",
        "NFQUEUE",
        "--queue-num",
        str(queue),
        *bypass,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this kernel has no NFQUEUE target: {done.stderr.strip()}")
