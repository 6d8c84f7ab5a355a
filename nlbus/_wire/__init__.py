"""Floor 1: walking and building netlink messages. No I/O."""
