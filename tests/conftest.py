"""The strictest reading of every run: types checked, warnings, NaNs and silent broadcasting errors, eight devices."""

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import quickly

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {quickly.FLAGS}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Threads of OpenBLAS wait by spinning: where other workers have the cores, small products take a hundred times as long.
# NumPy may be there before this line in one process alone; workers, and the scripts that tests start, inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Workers, and the scripts that tests start, share their compiled programs through a folder that lives as long as the
# run does: an older one might hold programs of another CPU.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    PROGRAMS = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="diffjax-programs-")
    atexit.register(shutil.rmtree, PROGRAMS, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if "DIFFJAX_CACHE" not in os.environ:  # what is remembered of folders of pictures
    REMEMBERED = os.environ["DIFFJAX_CACHE"] = tempfile.mkdtemp(prefix="diffjax-cache-")
    atexit.register(shutil.rmtree, REMEMBERED, ignore_errors=True)

import jax
import jaxtyping
from jaxtyping import install_import_hook

install_import_hook("diffjax", "strict_types.check")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_nans", True)
gc.set_threshold(
    50_000, 10, 10
)  # tracing makes many objects that live; looking at them often costs a tenth of the time

MAPS = Path("/proc/self/maps")
MOST_MAPS = 40_000  # Linux allows a process 65,530, and ends it at one more; every program of XLA takes some


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the digits are prepared, once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True, scope="module")
def room_for_programs() -> Iterator[None]:
    """Forgets all programs between two files where there are too many."""
    yield
    if MAPS.exists() and len(MAPS.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As most machines have: programs of eight devices wait for one another at every step."""
    one = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *platform: one)


@pytest.fixture
def untyped() -> Iterator[None]:
    """Without the strict reading of types, which users do not have: mistakes reach the library's own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing and lowering as on a CUDA device with cuDNN, which nothing here can run."""
    from jax._src.cudnn import fused_attention_stablehlo as jax_cudnn

    from diffjax.nets import dot_product

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(dot_product, "cuda_capability", lambda: 9.0)
    monkeypatch.setattr(jax_cudnn, "check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(jax_cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(jax_cudnn, "is_cuda_compute_capability_equal", lambda capability: False)
