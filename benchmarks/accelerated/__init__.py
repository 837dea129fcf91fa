"""What benchmarks/accelerator.py measures, and in which processes."""
