"""The torch originals with seeded weights, whose outputs are the golden numbers; run by make_golden.py."""
