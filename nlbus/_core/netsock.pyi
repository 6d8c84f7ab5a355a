"""Opening netlink sockets: for other extensions, but for entering a network namespace."""

__pyx_capi__: dict[str, object]  # what they cimport

def enter_netns(fd: int) -> None: ...
