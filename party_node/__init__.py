"""Runs at the partner, beside the data. What can leave is built in `share.py`, and nowhere else."""
