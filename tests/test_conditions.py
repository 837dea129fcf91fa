"""A condition as a net knows it, from what is given, and from what data have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import conditions
from diffjax.errors import UserError
from diffjax.protocols import ConditionPart

NULL = {
    "label": jnp.asarray(10, jnp.int32),
    "text": ConditionPart(jnp.zeros(4, jnp.int32), jnp.zeros((), bool)),
    "sketch": ConditionPart(jnp.zeros((2, 2, 1)), jnp.zeros((), bool)),
}


def test_what_is_given_is_known_of_every_example_and_nothing_else_is() -> None:
    text = np.array([3, 1, 0, 0])
    made = conditions.fill_condition(NULL, 3, {"text": text, "label": [1, 2, 3]})
    assert jax.tree.structure(made) == jax.tree.structure(NULL)
    np.testing.assert_array_equal(made["text"].value, np.tile(text, (3, 1)))
    np.testing.assert_array_equal(made["label"], [1, 2, 3])
    assert bool(jnp.all(made["text"].present))
    assert not bool(jnp.any(made["sketch"].present))
    np.testing.assert_array_equal(conditions.fill_condition(NULL, 2, {})["label"], [10, 10])


def test_a_label_alone_is_bare_and_without_conditions_there_is_none() -> None:
    np.testing.assert_array_equal(conditions.fill_condition(NULL["label"], 2, {"label": 3}), [3, 3])
    assert conditions.fill_condition(None, 2, {}) is None


def test_of_data_a_net_takes_what_it_knows() -> None:
    data = {name: jax.tree.map(lambda leaf: leaf[None], part) for name, part in NULL.items()}
    assert conditions.select_parts(None, data) is None
    assert conditions.select_parts(NULL["label"], data) is data["label"]
    assert conditions.select_parts(NULL["label"], data["label"]) is data["label"]
    some = {name: NULL[name] for name in ("label", "text")}
    assert conditions.select_parts(some, data) == {name: data[name] for name in some}
    with pytest.raises(UserError, match=r"^model\.conditions: .*'text'.*data\.parts"):
        conditions.select_parts(some, data["label"])


def test_what_the_model_was_not_trained_on_is_named() -> None:
    cases = [
        (NULL, {"depth": 1}, "^depth: .*label, text, sketch"),
        (None, {"label": 1}, "^label: "),
        (NULL["label"], {"text": [1, 0, 0, 0]}, "^text: .*label"),
        (NULL, {"sketch": np.zeros((4, 4, 1))}, r"^sketch: .*\(2, 2, 1\).* 3"),
    ]
    for null, given, told in cases:
        with pytest.raises(UserError, match=told):
            conditions.fill_condition(null, 3, given)
