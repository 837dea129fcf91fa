"""Inception-v3 says what the reference says, of the weights in the user's file, or says what is wrong with the file.

The golden data are torch-fidelity's own answers; `inception_recipe.py` says how they were made, and makes them anew.
"""

import hashlib
import os
import pickle

import jax
import numpy as np
import pytest
from inception_recipe import EVERY, GOLDEN, RESIZED, SIZES, image, weights
from safetensors.numpy import save_file

from diffjax.errors import UserError
from diffjax.evaluation import inception, inception_weights
from diffjax.evaluation.inception import ANTIALIASED, TENSORFLOW_1


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module")
def tensors():
    return weights(inception_weights.shapes())


@pytest.fixture(scope="module")
def path(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    save_file(tensors | {"fc.bias": np.ones(1008), "Mixed_5b.branch1x1.bn.num_batches_tracked": np.array(0)}, path)
    return path


@pytest.fixture(scope="module")
def see(path):
    return inception.features(inception_weights.load(path).variables, batch=2)


@pytest.mark.parametrize("name", SIZES)
def test_the_net_sees_what_the_reference_sees(name, see, golden) -> None:
    for part, found in see(image(name, SIZES[name]))._asdict().items():
        expected = golden[f"{name}_{part}"]
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5 * expected.std())


@pytest.mark.parametrize("name", RESIZED)
def test_images_are_resized_as_the_reference_does(name, golden) -> None:
    found = np.asarray(TENSORFLOW_1.apply(image(name, RESIZED[name])))
    assert found.shape == (1, 299, 299, 3)
    np.testing.assert_allclose(found[:, ::EVERY, ::EVERY], golden[name], rtol=0, atol=1e-4)  # of 255 levels
