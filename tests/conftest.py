"""The strictest reading of every run: types checked, warnings, NaNs and silent broadcasting errors, eight devices."""

import gc
import os

import quickly

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {quickly.FLAGS}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jaxtyping import install_import_hook

install_import_hook("diffjax", "strict_types.check")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_nans", True)
gc.set_threshold(
    200_000, 20, 100
)  # tracing makes many objects that live; looking at them all costs a tenth of the time
