"""Images a second of Inception-v3, beside torch-fidelity's where that is installed: benchmarks/inception.py [threads]

The same random weights and images in both; some minutes. torch and torch-fidelity are no dependencies of diffjax.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "evaluation"))

from inception_recipe import reference, weights
from safetensors.numpy import save_file

from diffjax.evaluation import inception, inception_weights

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else len(os.sched_getaffinity(0))
BATCH, SIDE, ROUNDS = 32, 32, 7


def main() -> None:
    """Calls of all ways are interleaved, and ratios taken within each round; uint8 images in, pool3 out."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # JAX has not counted them yet
    tensors = weights(inception_weights.tensor_shapes())
    images = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    ways = {"diffjax": ours(tensors)}
    try:
        ways |= theirs(tensors)
    except ImportError as error:
        print(f"no reference to compare with ({error}): pip install torch torch-fidelity")
    pool3 = [way(images) for way in ways.values()]  # compiles
    rounds = np.array([[seconds(way, images) for way in ways.values()] for _ in range(ROUNDS)])
    print(f"{BATCH} images of {SIDE} x {SIDE}, {THREADS} threads, median of {ROUNDS} rounds")
    print("| way | images/s | speed of diffjax over it | pool3: largest difference / spread |\n|---|---|---|---|")
    for name, found, column in zip(ways, pool3, rounds.T, strict=True):
        ratio, apart = np.median(column / rounds[:, 0]), np.abs(found - pool3[0]).max() / found.std()
        print(f"| {name} | {BATCH / np.median(column):.2f} | {ratio:.2f} | {apart:.1e} |")


def ours(tensors: dict[str, np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """By way of a file, as users come."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "inception.safetensors")
        see = inception.inception_function(
            inception_weights.load_weights(Path(folder) / "inception.safetensors").variables, batch=BATCH
        )
    return lambda images: see(images).pool3


def theirs(tensors: dict[str, np.ndarray]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """torch-fidelity's net as it is, and with the memory format that PyTorch recommends for convolutions on a CPU."""
    import torch

    torch.set_num_threads(THREADS)

    def seen_by(net) -> Callable[[np.ndarray], np.ndarray]:
        return lambda images: net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))[0].numpy()

    return {
        "torch-fidelity": seen_by(reference(tensors)),
        "torch-fidelity, channels_last": seen_by(reference(tensors).to(memory_format=torch.channels_last)),
    }


def seconds(way: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    """Of one call, to its end."""
    start = time.perf_counter()
    way(images)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
