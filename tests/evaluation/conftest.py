"""scikit-learn's digits, split as the design states: 1,257 to train on, 180 to choose by, 360 to judge by."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


@pytest.fixture(scope="session")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    images, labels = pixels.astype(np.uint8).reshape(-1, 8, 8, 1), labels.astype(np.int64)
    rest, test = train_test_split(np.arange(1797), test_size=360, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=180, stratify=labels[rest], random_state=0)
    return {
        name: (images[rows], labels[rows])
        for name, rows in (("train", train), ("validation", validation), ("test", test))
    }
