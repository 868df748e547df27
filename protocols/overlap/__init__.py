"""How many people two parties share, counted without either learning who: what both of them compute in the same way."""
