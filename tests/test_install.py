"""What is built and installed: the wheel has the package whole, a fresh environment runs it, a clone is found first."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = ("pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("diffjax", "configs")


def clone_into(folder: Path) -> Path:
    """A copy of what a build reads."""
    folder.mkdir()
    for name in (*PROJECT, *(path.name for path in ROOT.glob("*.py"))):
        shutil.copy(ROOT / name, folder)
    for name in filter(lambda name: (ROOT / name).is_dir(), PACKAGES):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def build(kind: str, source: Path, out: Path) -> Path:
    """The sdist or the wheel of a source tree."""
    out.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    said = subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, text=True).stdout
    return out / said.split()[-1]


def test_the_wheel_has_every_file_of_the_package(tmp_path) -> None:
    """Sources, py.typed, pages and pictures alike; no tests, no benchmarks."""
    clone = clone_into(tmp_path / "clone")
    files = {str(path.relative_to(clone)) for path in (clone / "diffjax").rglob("*") if path.is_file()}
    names = zipfile.ZipFile(build("wheel", clone, tmp_path / "out")).namelist()
    packed = {name for name in names if ".dist-info/" not in name}
    assert files <= packed
    assert {name.split("/")[0] for name in packed} <= {*PACKAGES}


@pytest.mark.long
def test_a_fresh_environment_plans_a_training_from_the_wheel(tmp_path) -> None:
    """The wheel is built from the sdist; only the dependencies are those of this environment."""
    sdist = build("sdist", clone_into(tmp_path / "clone"), tmp_path / "out")
    shutil.unpack_archive(sdist, tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    wheel = build("wheel", source, tmp_path / "out")
    python = fresh_environment(tmp_path / "venv")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", wheel]
    subprocess.run(install, check=True)
    asked = [python, "-c", "import diffjax; print(diffjax.__file__, diffjax.nets.UNet.__name__)"]
    file, net = subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    assert Path(file).is_relative_to(tmp_path / "venv")
    assert net == "UNet"
    train = [python.parent / "diffjax", "train", "--config", Path(file).parent / "configs" / "known16.py"]
    plan = [*train, "--workdir", tmp_path / "run", "--config.train.steps=1", "--check"]
    subprocess.run(plan, cwd=tmp_path, check=True, capture_output=True)


def fresh_environment(folder: Path) -> Path:
    """The Python of a new environment that finds this one's packages after its own."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.mark.long
def test_the_install_wins_over_the_folder_of_the_clone(tmp_path) -> None:
    """From above a clone called diffjax, `import diffjax` is the package in it: pip wrote a path entry, no hook."""
    clone = tmp_path / "diffjax"
    package = clone / "diffjax"
    package.mkdir(parents=True)
    for name in PROJECT:
        shutil.copy(ROOT / name, clone)
    (package / "__init__.py").write_text("Gaussian = 'ours'\n")
    (clone / "configs").mkdir()
    (clone / "configs" / "__init__.py").touch()
    (clone / "train.py").touch()

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-e", clone]
    subprocess.run(install, check=True)
    for folder in (tmp_path, clone, Path("/")):
        asked = [python, "-c", "import diffjax; print(diffjax.Gaussian, diffjax.__file__)"]
        told = subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True).stdout
        assert told.split() == ["ours", str(package / "__init__.py")]
