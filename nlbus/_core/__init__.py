"""Floor 2: receiving, sending and keeping count, without the GIL."""
