"""Data sets that the tests share, made once a session in a folder of their own."""

from pathlib import Path

import pytest

from diffjax.data import Dataset, open_dataset


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tensorflow_datasets")


@pytest.fixture(scope="session")
def digits(data_dir: Path) -> Dataset:
    return open_dataset("digits", data_dir)
