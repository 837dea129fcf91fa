"""Each family's net and noise are what the texts that `--check` prints make in a config."""

import pytest

from diffjax.experiment.build import build_model
from diffjax.experiment.published_model import describe_model
from diffjax.published.models import find_family
from tests.published.golden_files import GOLDEN, read_case

NAMES = [
    *("dit_64", "sit_64", "edm_ddpmpp_64", "edm_ncsnpp_64", "edm_adm_64", "edm2_64"),
    *("unet_2d_small_16", "unet_2d_default_32", "unet_2d_condition_sd1_32", "unet_2d_condition_inpainting_32"),
    *("adm_64", "mar_64"),
]


@pytest.mark.parametrize("name", NAMES)
def test_the_texts_make_the_model(name) -> None:
    file = read_case(GOLDEN / f"{name}.npz").file
    model = find_family(file).read(file)
    section, data = describe_model(model)
    built = build_model(section, data)
    assert (built.net, built.order) == (model.net, model.order)
    assert built.noise == model.noise
