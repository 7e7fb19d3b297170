"""Provenance: the append-only ledger, the site's keys, the seal, and the released files.

The format of the ledger is written down in ``docs/ledger-format.md``.
"""
