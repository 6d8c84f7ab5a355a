"""From recvmmsg to a block of checked rows: memory, walking, the loss ledger."""
