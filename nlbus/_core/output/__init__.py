"""Text into memory that grows: bytes, numbers, addresses."""
