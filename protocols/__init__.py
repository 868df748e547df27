"""What parties, coordinator and auditor agree on: formats, arithmetic, proofs. Pure, but for its edges: `carrier/`,
`logbook.py` and `settings.py`.
"""
