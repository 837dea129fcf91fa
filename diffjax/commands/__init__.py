"""What the four scripts do."""
