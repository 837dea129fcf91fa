"""diffusers' copy of DiT under the names of the original."""

from dataclasses import replace

import pytest

from diffjax.errors import UserError
from diffjax.nets.dit import DiT
from diffjax.published.models import find_family
from tests.published.golden_files import GOLDEN, read_case

FILE = read_case(GOLDEN / "dit_diffusers_64.npz").file


def test_it_is_the_net_that_people_train() -> None:
    family = find_family(FILE)
    model = family.read(FILE)
    assert model.net == DiT(width=64, depth=2, heads=1, classes=10, frequencies=256, learned_variance=True)
    assert model.schedule == "discrete_linear()"
    assert "CC-BY-NC" in family.licence


@pytest.mark.parametrize(
    "name", ["transformer_blocks.1.attn1.to_k.bias", "proj_out_1.weight", "transformer_blocks.0.ff.net.2.weight"]
)
def test_a_tensor_that_is_missing_is_named(name) -> None:
    tensors = {key: tensor for key, tensor in FILE.tensors.items() if key != name}
    with pytest.raises(UserError, match=rf"^transformer: .*{name}"):
        find_family(FILE).read(replace(FILE, tensors=tensors))


def test_a_tensor_of_another_model_is_named() -> None:
    tensors = {**FILE.tensors, "transformer_blocks.0.attn2.to_q.weight": FILE.tensors["proj_out_1.weight"]}
    with pytest.raises(UserError, match=r"^transformer: .*attn2"):
        find_family(FILE).read(replace(FILE, tensors=tensors))
