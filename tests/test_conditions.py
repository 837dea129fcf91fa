"""A condition as a net knows it, from what is given, and from what data have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import conditions
from diffjax.errors import UserError
from diffjax.protocols import Given

NULL = {
    "label": jnp.asarray(10, jnp.int32),
    "text": Given(jnp.zeros(4, jnp.int32), jnp.zeros((), bool)),
    "sketch": Given(jnp.zeros((2, 2, 1)), jnp.zeros((), bool)),
}


def test_what_is_given_is_known_of_every_example_and_nothing_else_is() -> None:
    text = np.array([3, 1, 0, 0])
    made = conditions.completed(NULL, 3, {"text": text, "label": [1, 2, 3]})
    assert jax.tree.structure(made) == jax.tree.structure(NULL)
    np.testing.assert_array_equal(made["text"].value, np.tile(text, (3, 1)))
    np.testing.assert_array_equal(made["label"], [1, 2, 3])
    assert bool(jnp.all(made["text"].present))
    assert not bool(jnp.any(made["sketch"].present))
    np.testing.assert_array_equal(conditions.completed(NULL, 2, {})["label"], [10, 10])


def test_a_label_alone_is_bare_and_without_conditions_there_is_none() -> None:
    np.testing.assert_array_equal(conditions.completed(NULL["label"], 2, {"label": 3}), [3, 3])
    assert conditions.completed(None, 2, {}) is None


def test_of_data_a_net_takes_what_it_knows() -> None:
    data = {name: jax.tree.map(lambda leaf: leaf[None], part) for name, part in NULL.items()}
    assert conditions.fitted(None, data) is None
    assert conditions.fitted(NULL["label"], data) is data["label"]
    assert conditions.fitted(NULL["label"], data["label"]) is data["label"]
    some = {name: NULL[name] for name in ("label", "text")}
    assert conditions.fitted(some, data) == {name: data[name] for name in some}
    with pytest.raises(UserError, match=r"told of 'text', and the data have none; add it to data\.parts"):
        conditions.fitted(some, data["label"])


def test_what_the_model_was_not_trained_on_is_named() -> None:
    cases = [
        (NULL, {"depth": 1}, r"depth: this model was not trained on it \(it knows label, text, sketch\)"),
        (None, {"label": 1}, r"label: .*\(it knows no condition"),
        (NULL["label"], {"text": [1, 0, 0, 0]}, r"text: .*\(it knows label\)"),
        (NULL, {"sketch": np.zeros((4, 4, 1))}, r"sketch: expected one value of shape \(2, 2, 1\), or 3 of them"),
    ]
    for null, given, told in cases:
        with pytest.raises(UserError, match=told):
            conditions.completed(null, 3, given)
