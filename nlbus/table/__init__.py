"""Tables: decoded rows, their columns, conditions on them, and losses."""
