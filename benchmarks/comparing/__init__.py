"""The parts of benchmarks/compare.py: families, trainings, scores, counted operations, figures and the page."""
