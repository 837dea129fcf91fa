"""Weight files that others have published: read without running anything, as a denoiser, a noise and an order."""
