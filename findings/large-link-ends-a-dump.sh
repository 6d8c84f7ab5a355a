#!/usr/bin/env bash
# A link whose message exceeds 32 KiB ends a plain dump of links: the kernel answers DONE with error 0, and all
# links from there on are missing. With RTEXT_FILTER_SKIP_STATS in IFLA_EXT_MASK the dump is whole.
# Seen on Linux 6.18 with pyroute2 0.9.7 and with a bare socket. Needs root, or unprivileged user namespaces.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$folder" pyroute2==0.9.7 2>/dev/null

cat >"$folder/links.py" <<'PYTHON'
import platform
import subprocess

import pyroute2
from pyroute2 import IPRoute

ALTNAMES, LENGTH = 240, 127  # together beyond 32 KiB; the kernel allows more of both

for names in (("va", "vb"), ("vc", "vd")):
    subprocess.run(["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1]], check=True)
lines = [f"link property add dev va altname {i:0{LENGTH}}" for i in range(ALTNAMES)]
subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)

with IPRoute() as ipr:
    plain = sorted(link.get_attr("IFLA_IFNAME") for link in ipr.get_links())
    masked = sorted(link.get_attr("IFLA_IFNAME") for link in ipr.link("dump", ext_mask=8))
everything = ["lo", "va", "vb", "vc", "vd"]
print(f"Linux {platform.release()}, pyroute2 {pyroute2.__version__}; links: {everything}")
print("guess: a dump has every link, or fails with an error")
print(f"seen:  plain dump, no error: {plain}")
print(f"       with IFLA_EXT_MASK:   {masked}")
raise SystemExit(0 if "va" not in plain and masked == everything else 1)
PYTHON

spawn=(unshare --net)
((EUID)) && spawn=(unshare --user --map-root-user --net)
PYTHONPATH="$folder" "${spawn[@]}" python3 "$folder/links.py"
