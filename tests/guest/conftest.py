"""Tests of the modules, inside a guest kernel: `make test-kmod` boots it."""

import os

GUEST = os.environ.get("NLBUS_GUEST")  # the kernel's name in tests/lab

collect_ignore_glob = [] if GUEST else ["test_*.py"]
