"""Runs at the operator. Sees shares and noised sums, never a row and never an exact count."""
