"""An editable install is found before the folder of the clone, which may be called as the package is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_the_install_wins_over_the_folder_of_the_clone(tmp_path) -> None:
    """From above a clone called diffjax, `import diffjax` is the package in it: pip wrote a path entry, no hook."""
    clone = tmp_path / "diffjax"
    package = clone / "diffjax"
    package.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
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
