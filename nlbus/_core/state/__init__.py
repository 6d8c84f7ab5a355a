"""State in columns: hashes of rows, and the index that finds rows by them."""
