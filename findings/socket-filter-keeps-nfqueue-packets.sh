#!/usr/bin/env bash
# A socket filter that refuses a packet of nfqueue does not end its wait: the kernel takes the message for
# delivered, so the packet stays in the queue without anybody who could decide on it. No counter shows it but
# that of waiting packets. A filter saves nothing here: each packet needs its message.
# Seen on Linux 6.18 with NetfilterQueue 1.1.0, which needs Debian's libnetfilter-queue-dev. Needs root, or
# unprivileged user namespaces, and iptables-legacy with the target NFQUEUE.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder" NetfilterQueue==1.1.0 2>/dev/null

cat >"$folder/queue.py" <<'PYTHON'
import ctypes
import platform
import socket
import subprocess

from netfilterqueue import NetfilterQueue

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
rule = "-t raw -A PREROUTING -p udp --dport 5000 -j NFQUEUE --queue-num 1"
subprocess.run(["iptables-legacy", *rule.split()], check=True)
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 5000))
receiver.settimeout(0.2)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

decided = []
queue = NetfilterQueue()
queue.bind(1, lambda packet: (decided.append(1), packet.accept()))


def passes():
    before = len(decided)
    sender.sendto(b"x", ("127.0.0.1", 5000))
    queue.run(block=False)
    try:
        receiver.recv(100)
        return True, len(decided) - before
    except TimeoutError:
        return False, len(decided) - before


def counters():
    waiting, dropped, user_dropped = (
        int(open("/proc/thread-self/net/netfilter/nfnetlink_queue").read().split()[at]) for at in (2, 5, 6)
    )
    return {"waiting": waiting, "dropped": dropped, "user_dropped": user_dropped}


plain = passes()
refuse = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\0\0", 8)  # BPF_RET, 0
program = ctypes.create_string_buffer(bytes(16), 16)
ctypes.c_ushort.from_buffer(program).value = 1
ctypes.c_void_p.from_buffer(program, 8).value = ctypes.addressof(refuse)
same = socket.socket(fileno=queue.get_fd())
same.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program.raw)
filtered = passes()
found = counters()
same.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)  # unbinding waits for an answer
same.detach()
print(f"Linux {platform.release()}, NetfilterQueue 1.1.0")
print("guess: what the filter refuses is dropped and counted, as when the socket's buffer is full")
print(f"seen:  without a filter (passes, decided): {plain}; with one: {filtered}, and then {found}")
wanted = {"waiting": 1, "dropped": 0, "user_dropped": 0}
raise SystemExit(0 if plain == (True, 1) and filtered == (False, 0) and found == wanted else 1)
PYTHON

spawn=(unshare --net)
((EUID)) && spawn=(unshare --user --map-root-user --net)
PYTHONPATH="$folder" "${spawn[@]}" python3 "$folder/queue.py"
