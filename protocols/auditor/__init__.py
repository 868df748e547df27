"""What the auditor's tool does around `audit`: fetch, explain, count by another accountant, compare, sign, print."""
