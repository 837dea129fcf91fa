"""Time and memory of evaluate.py by the size of a picture: python benchmarks/evaluation.py [SIZE[xPICTURES]] …

For each size: a folder of random-field colour pictures in three classes (1,250 unless given: 1,000 for training, 125
each for validation and test), a small U-Net trained for five steps, and evaluate.py with 1,000 samples, as a process of
its own whose peak resident memory is watched. Everything is in a temporary folder. A run is ended, and reported so,
after LIMIT_S seconds or above LIMIT_GB. Further flags for evaluate.py may follow after `--`.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from report import table

ROOT = Path(__file__).parents[1]
SIZES = ("32", "64")
PICTURES = 1_250
SAMPLES = 1_000
LIMIT_S = 1_200.0
LIMIT_GB = 8.0
CONFIG = """
from diffjax.experiment.config import Config, Data, Model, Train

def get_config():
    return Config(
        data=Data(name="folder:{pictures}", batch_size=8),
        model=Model(net="UNet(width=16, multipliers=(1, 2, 2))"),
        train=Train(steps=5, save_every_steps=5, picture_every_steps=1_000, validate_images=0),
    )
"""


def write_pictures(folder: Path, size: int, count: int) -> None:
    """Gaussian random fields with a power spectrum 1/f^(2 + class), three channels that are correlated."""
    rng = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    mix = np.array([[1.0, 0.6, 0.3], [0.0, 0.8, 0.4], [0.0, 0.0, 0.9]])
    for number in range(count):
        label = number % 3
        amplitude = 1 / np.maximum(frequencies, 1 / size) ** (1 + label / 2)
        spectrum = np.fft.rfft2(rng.standard_normal((3, size, size))) * amplitude
        field = np.moveaxis(np.fft.irfft2(spectrum, (size, size)), 0, 2) @ mix
        picture = np.clip(128 + 48 * (field - field.mean()) / field.std(), 0, 255).astype(np.uint8)
        path = folder / f"class{label}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


def watched(command: list[str], log: Path) -> tuple[float, float, str]:
    """Seconds, peak resident gigabytes, and how it ended, of a process that is ended at the limits."""
    begun = time.perf_counter()
    peak = 0.0
    ending = ""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            time.sleep(0.2)
            peak = max(peak, _peak_gb(process.pid))
            spent = time.perf_counter() - begun
            if spent > LIMIT_S or peak > LIMIT_GB:
                process.kill()
                ending = "ended at the time limit" if spent > LIMIT_S else "ended at the memory limit"
        process.wait()
    return time.perf_counter() - begun, peak, ending or f"exit {process.returncode}"


def _peak_gb(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1e6 if found else 0.0


def trained(folder: Path, size: int, count: int) -> Path:
    """A run of five steps on such pictures."""
    write_pictures(folder / "pictures", size, count)
    config = folder / "small.py"
    config.write_text(CONFIG.format(pictures=folder / "pictures"))
    train = [sys.executable, str(ROOT / "train.py"), "--config", str(config), "--workdir", str(folder / "run")]
    subprocess.run(train, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "run"


def main() -> None:
    """A row for each size; what evaluate.py prints goes to stderr."""
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    columns = ("pictures", "train, validation and test", "seconds", "of these sampling", "peak resident GB", "end")
    table(
        "Time and memory of evaluate.py",
        columns,
        (measure(text, arguments[end + 1 :]) for text in arguments[:end] or SIZES),
    )


def measure(text: str, more: list[str]) -> tuple[str, ...]:
    """A row of the table for SIZE[xPICTURES], with further flags."""
    size, _, count = text.partition("x")
    pictures = int(count or PICTURES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workdir = trained(folder, int(size), pictures)
        evaluate = [sys.executable, str(ROOT / "evaluate.py"), "--workdir", str(workdir), f"--num={SAMPLES}", *more]
        seconds, peak, ending = watched(evaluate, folder / "log")
        log = (folder / "log").read_text()
    print(log, file=sys.stderr)
    sampling = re.search(r"\] samples: ([\d.]+) s", log)
    sampling_text = f"{float(sampling[1]):.0f}" if sampling else "unknown"
    return f"{size}x{size}x3", f"{pictures:,}", f"{seconds:.0f}", sampling_text, f"{peak:.2f}", ending


if __name__ == "__main__":
    main()
