"""Experiments that bring parts of their own, by import path."""
