"""What the comparison of families says. Each file beside this one has a `get_config()` that fills these fields."""

from dataclasses import dataclass


@dataclass
class Compare:
    """All nets have this width, depth and number of heads, and are trained for `steps` steps of `batch_size` images.

    `families` are names of benchmarks/comparing/families.py. Every one is trained from each of `train_seeds`, and every
    trained net draws `samples` pictures from each of `sample_seeds`. `checkpoints`, evenly spaced, show the bits on the
    way, of `bits_of` test images, a bound of `draws` terms an image. `evaluations` are those of the families that may
    choose, `at_a_time` the pixels that an order reveals at once, `guidances` the weights under which a point of each
    family is drawn again, from the first two sampling seeds. `at_once` trainings run beside each other. `data` and
    `data_dir` are those of a config's `data`. `batch` pictures are drawn at once.
    """

    name: str
    families: tuple[str, ...] = (
        "raster",
        "raster_bidirectional",
        "any_order",
        "side_by_side",
        "masked",
        "gaussian",
        "rolling",
        "continuous",
    )
    train_seeds: tuple[int, ...] = (0, 1, 2)
    sample_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    samples: int = 512
    steps: int = 1_200
    batch_size: int = 64
    width: int = 64
    depth: int = 4
    heads: int = 2
    evaluations: tuple[int, ...] = (1, 2, 4, 10, 20, 64)
    at_a_time: tuple[int, ...] = (1, 4, 8, 16, 64)
    guidances: tuple[float, ...] = (2.0, 4.0)
    checkpoints: int = 5
    bits_of: int = 180
    draws: int = 32
    at_once: int = 2
    batch: int = 256
    data: str = "digits"
    data_dir: str = ""
