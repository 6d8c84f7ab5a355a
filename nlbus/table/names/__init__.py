"""Names of interfaces where a table has their indices."""
