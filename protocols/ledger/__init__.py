"""The privacy-budget ledger: entries, a Merkle tree over them, signed checkpoints, and the rules that decide."""
