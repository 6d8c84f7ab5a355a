"""Floor 0: what the kernel declares. Declarations only, nothing to import at run time."""
