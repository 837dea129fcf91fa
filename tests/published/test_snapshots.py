"""Post-hoc averages of published snapshots, against trainings whose averages have a closed form."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffjax.errors import UserError
from diffjax.published.weight_files import is_weight_file, read_weight_file
from diffjax.training.ema import power_exponent

STDS, KIMGS = (0.05, 0.1), (40, 60, 80, 100, 120, 140, 160)


def average_of_line(kimg: float, std: float) -> float:
    """That of weights that are the time itself: t (γ + 1) / (γ + 2)."""
    gamma = power_exponent(std)
    return kimg * (gamma + 1) / (gamma + 2)


def write(folder: Path, prefix: str = "edm2-tiny") -> Path:
    """Snapshots of a training whose weight `line` is the time, and `constant` is 3."""
    for kimg in KIMGS:
        for std in STDS:
            tensors = {
                "unet.line": np.full((2, 3), average_of_line(kimg, std), np.float16 if kimg < 50 else np.float32),
                "unet.constant": np.full(2, 3.0, np.float32),
                "unet.emb_fourier.freqs": np.array([float(kimg)], np.float32),
            }
            save_file(tensors, folder / f"{prefix}-{kimg:07d}-{std:.3f}.safetensors")
    return folder


@pytest.mark.parametrize("std", [0.05, 0.07, 0.1, 0.12])
def test_an_average_of_any_length_is_that_of_the_training(tmp_path, std) -> None:
    file = read_weight_file(write(tmp_path), f"std={std}")
    line = file.tensors["unet.line"].read()
    np.testing.assert_allclose(line, average_of_line(KIMGS[-1], std), rtol=2e-3)
    np.testing.assert_allclose(file.tensors["unet.constant"].read(), 3, rtol=1e-6)
    assert file.tensors["unet.emb_fourier.freqs"].read() == KIMGS[-1], "frequencies are not averaged"
    assert line.dtype == np.float32


def test_a_folder_of_snapshots_is_one_of_weights(tmp_path) -> None:
    assert is_weight_file(write(tmp_path))
    for path in sorted(tmp_path.iterdir())[1:]:
        path.unlink()
    assert "unet.line" in read_weight_file(tmp_path).tensors, "the only one needs no name"


@pytest.mark.parametrize(
    ("average", "problem"),
    [(None, r"std=0\.05, std=0\.1"), ("std=0.27", "std=0.27 is too far"), ("0.999", "expected std="), ("std=2", "std")],
)
def test_a_length_that_cannot_be_made_is_one_line(tmp_path, average, problem) -> None:
    with pytest.raises(UserError, match=problem):
        read_weight_file(write(tmp_path), average)


def test_snapshots_of_other_trainings_and_tensors_are_named(tmp_path) -> None:
    write(tmp_path)
    save_file({"unet.line": np.zeros(3, np.float32)}, tmp_path / "edm2-tiny-0000040-0.050.safetensors")
    with pytest.raises(UserError, match=r"0000040-0\.050"):
        read_weight_file(tmp_path, "std=0.1")
    write(tmp_path, "other")
    with pytest.raises(UserError, match="edm2-tiny and other"):
        read_weight_file(tmp_path, "std=0.1")
