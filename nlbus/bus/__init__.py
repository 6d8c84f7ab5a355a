"""Subscribers, publishers, batches, snapshots and state."""
