"""Provenance: ledger, keys, watermarking and released files.

The format of the ledger is written down in ``docs/ledger-format.md``.
"""
