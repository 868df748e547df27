"""What parties, coordinator and auditor agree on: formats, arithmetic, proofs. Pure, but for `carrier/` and `logbook`."""
