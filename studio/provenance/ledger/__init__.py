"""The transparency log: entries, Merkle tree, proofs, checkpoints."""
