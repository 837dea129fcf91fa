"""Diagnostics of a trained denoiser by noise level and by sampling step, and against a known density."""

from diffjax.diagnostics import by_noise_level, known_density, level_profile

__all__ = ["by_noise_level", "known_density", "level_profile"]
