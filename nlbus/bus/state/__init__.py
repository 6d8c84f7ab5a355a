"""State: the current objects of a source in columns, and how it stays true."""
