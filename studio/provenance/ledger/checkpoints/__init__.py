"""Signed checkpoints of the ledger: format, signature, timestamp, storage."""
