"""The RFC 6962 Merkle tree of the ledger: hashing, stored nodes, proofs."""
