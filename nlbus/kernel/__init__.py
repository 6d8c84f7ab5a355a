"""Talking to the kernel: constants, requests, network namespaces, /proc, groups, the cost of a datagram."""
