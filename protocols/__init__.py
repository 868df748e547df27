"""What parties, coordinator and auditor agree on: formats, arithmetic, proofs. Pure, but for two edges: `carrier/` and
`logbook.py`.
"""
