"""Parts of benchmarks/compare_exact.py: every family on tokens whose joint probabilities are listed."""
