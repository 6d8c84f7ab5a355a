"""Talking to the kernel: constants, requests, network namespaces, /proc, groups, what a datagram costs."""
