"""A trained denoiser looked at by noise level and by step, and beside a density that is known."""

from diffjax.diagnostics import by_noise_level, known_density, level_profile

__all__ = ["by_noise_level", "known_density", "level_profile"]
