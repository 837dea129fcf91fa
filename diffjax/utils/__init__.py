"""What needs nothing of the rest: files, images, trees, random keys, and functions as values."""
