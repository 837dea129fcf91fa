"""ADM: what its files tell, its noise, its labels, and the laws of its net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import schedule
from diffjax.errors import UserError
from diffjax.nets.adm_unet import ADMUNet
from diffjax.published import adm
from diffjax.published.models import find_family
from diffjax.published.stored_tensors import StoredTensor, WeightFile
from diffjax.published.tensor_mapping import net_shapes, sources_by_name
from diffjax.utils.tree_paths import leaves_by_name
from tests.published.golden_files import GOLDEN, read_case, weight_file
from tests.published.seeded import seeded_input, seeded_tensor

PUBLISHED = read_case(GOLDEN / "adm_published.npz")
SIDES = {"64x64_diffusion.pt": 64, "128x128_diffusion.pt": 128, "256x256_diffusion_uncond.pt": 256}
SIDES["512x512_diffusion.pt"] = 512
NET = ADMUNet(width=32, channels=(32, 64), blocks=1, attention=(1,), classes=3)
APPLY = jax.jit(NET.apply)
X = jnp.asarray(seeded_input((3, 3, 4, 4)).transpose(0, 2, 3, 1))
LEVEL = jnp.array([0.0, 500.0, 999.0]).reshape(-1, 1, 1, 1)
LABELS = jnp.array([0, 3, 2])  # the second is the null label


def published_file(name: str, renamed: str = "") -> WeightFile:
    """The names and shapes of a published file, whose numbers cannot be read."""
    shapes = PUBLISHED.about["published"][name]
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    return weight_file(tensors, renamed or name)


@pytest.fixture(scope="module")
def params():
    """Seeded parameters of NET, none of which is 0."""
    shapes = net_shapes(NET, X.shape[1:], jnp.zeros(1, jnp.int32))
    sources = sources_by_name(shapes)
    drawn = {name: seeded_tensor(source.tensor, shapes[name][::-1]).T for name, source in sources.items()}
    init = jax.eval_shape(NET.init, jax.random.key(0), X, LEVEL, LABELS)["params"]
    assert drawn.keys() == leaves_by_name(init).keys()
    flat = iter(drawn[name] for name in leaves_by_name(init))
    return jax.tree.map(lambda leaf: jnp.asarray(next(flat)), init)


@pytest.fixture(scope="module")
def small_file() -> WeightFile:
    return read_case(GOLDEN / "adm_convolutions.npz").file


def changed(file: WeightFile, name: str | None = None, shapes: dict[str, tuple[int, ...]] | None = None) -> WeightFile:
    """The file under another name, and with tensors of other shapes; of None without them."""
    tensors = dict(file.tensors)
    for key, shape in (shapes or {}).items():
        tensors[key] = StoredTensor(shape, np.dtype(np.float32), lambda shape=shape: np.zeros(shape, np.float32))
    return WeightFile(file.path.with_name(name or file.path.name), tensors)


@pytest.mark.parametrize("name", SIDES)
def test_the_shapes_of_a_published_file_tell_its_net(name) -> None:
    file = published_file(name, "weights.pt")
    net, settings = adm.find_net(file)
    assert settings.sides == SIDES[name]
    assert (net.classes, net.learned_variance) == (0 if "uncond" in name else 1000, True)
    assert (net.heads, net.heads_outside) == (4 if settings.sides == 128 else 0, settings.sides > 64)
    assert (settings.chain == "discrete_cosine()") == (settings.sides == 64)
    at_sides = [settings.sides // 2**depth for depth in net.attention]
    assert at_sides == [32, 16, 8]


@pytest.mark.parametrize("name", ["64x64_diffusion.pt", "512x512_diffusion.pt"])
def test_every_tensor_of_a_published_file_has_its_place(name) -> None:
    file = published_file(name)
    net, _ = adm.find_net(file)
    shapes = net_shapes(net, (64, 64, 3), jnp.zeros(1, jnp.int32))
    sources = sources_by_name(shapes)
    assert {source.tensor for source in sources.values()} == file.tensors.keys()
    for ours, (tensor, layout) in sources.items():
        assert layout(np.broadcast_to(0, file.shape(tensor))).shape == shapes[ours]
    if name.startswith("64x64"):
        assert (len(shapes), sum(map(np.prod, shapes.values()))) == (541, 295_904_454)


@pytest.mark.parametrize("chain", ["linear", "cosine"])
def test_the_chain_is_the_originals(chain) -> None:
    alpha, sigma = adm.CHAINS[f"discrete_{chain}()"](jnp.arange(1, 1001) / 1000)
    assert np.abs(np.asarray(alpha, np.float64) ** 2 - PUBLISHED.arrays[chain]).max() <= 1e-6
    np.testing.assert_allclose(sigma**2, 1 - PUBLISHED.arrays[chain], rtol=1e-5)


def test_the_net_sees_x_and_the_index_of_the_step(small_file) -> None:
    noise = find_family(small_file).read(small_file).noise
    t = jnp.array([1.0, 250.0, 1000.0]).reshape(-1, 1, 1, 1) / 1000
    np.testing.assert_allclose(noise.level(t).ravel(), [0, 249, 999], atol=1e-4)
    np.testing.assert_array_equal(noise.feed(X, t), X)
    assert noise.schedule is schedule.discrete_linear()


def test_files_that_do_not_fit_name_the_tensor(small_file) -> None:
    wrong = {
        "'input_blocks.0.0.weight' has 6 channels .* enlarges": {"input_blocks.0.0.weight": (96, 6, 3, 3)},
        "'out.2.weight' has 5 channels, expected 3, or 6": {"out.2.weight": (5, 96, 3, 3)},
        "'label_emb.weight' has shape \\(\\), and no axis": {"label_emb.weight": ()},
        "'input_blocks.2.0.op.weight' of shape": {"input_blocks.2.0.op.weight": (96, 96, 5, 5)},
        "no place for, 'input_blocks.9.0.op.weight'": {"input_blocks.9.0.op.weight": (1,)},
        "has 5 stages 'output_blocks'": {"output_blocks.4.0.in_layers.2.weight": (1,)},
        "channels must divide by the 32 groups": {"input_blocks.1.0.in_layers.2.weight": (90, 96, 3, 3)},
    }
    for problem, shapes in wrong.items():
        with pytest.raises(UserError, match=f"^12x12_diffusion.pt: .*{problem}"):
            adm.FAMILY.read(changed(small_file, shapes=shapes))
    lacking = WeightFile(small_file.path, {**small_file.tensors})
    lacking.tensors.pop("middle_block.2.in_layers.0.bias")
    with pytest.raises(UserError, match=r"^12x12_diffusion.pt: has no tensor 'middle_block.2.in_layers.0.bias'"):
        adm.FAMILY.read(lacking)


def test_sides_are_those_of_the_name_or_of_the_published_model(small_file) -> None:
    published = "256x256_diffusion_uncond.pt"
    assert adm.find_net(published_file(published, "lsun_bedroom.pt"))[1].sides == 256
    assert adm.find_net(published_file(published, "faces_128x128.pt"))[1].sides == 128
    assert adm.find_net(published_file(published, "faces_128x1280.pt"))[1].sides == 256
    with pytest.raises(UserError, match=r"^weights.pt: no published model has channels \(96, 192\).* 4 heads, rename"):
        adm.find_net(changed(small_file, "weights.pt"))
    with pytest.raises(UserError, match=r"^15x15.pt: by its name the sides are 15, and must divide by 2"):
        adm.find_net(changed(small_file, "15x15.pt"))


def test_the_null_label_adds_nothing_and_no_label_is_an_error(params) -> None:
    assert NET.null_cond == 3
    unconditional = NET.clone(classes=0)
    assert unconditional.null_cond is None
    out = APPLY({"params": params}, X, LEVEL, jnp.full(3, NET.null_cond))
    table = params["label_emb"]
    without = {name: leaf for name, leaf in params.items() if name != "label_emb"}
    np.testing.assert_allclose(out, unconditional.apply({"params": without}, X, LEVEL), atol=2e-6)
    zeros = {**params, "label_emb": jax.tree.map(jnp.zeros_like, table)}
    np.testing.assert_array_equal(out, APPLY({"params": zeros}, X, LEVEL, jnp.zeros(3, jnp.int32)))
    with pytest.raises(UserError, match="no label was passed"):
        NET.apply({"params": params}, X, LEVEL)
    with pytest.raises(UserError, match="unconditional"):
        unconditional.apply({"params": without}, X, LEVEL, LABELS)


def test_an_example_does_not_depend_on_the_batch(params) -> None:
    variables = {"params": params}
    together = APPLY(variables, X, LEVEL, LABELS)
    assert together.shape == (3, 4, 4, 6)
    alone = [APPLY(variables, X[i : i + 1], LEVEL[i : i + 1], LABELS[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, jnp.stack(alone), atol=2e-6)


def test_gradients_are_finite_also_of_the_null_label(params) -> None:
    def loss(params, x):
        return (NET.apply({"params": params}, x, LEVEL, LABELS) ** 2).sum()

    by_params, by_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, X)
    assert all(jnp.isfinite(leaf).all() and (leaf != 0).any() for leaf in jax.tree.leaves((by_params, by_x)))
    np.testing.assert_array_equal(by_params["label_emb"]["embedding"][1], 0)


def test_dropout_needs_keys(params) -> None:
    variables, net = {"params": params}, NET.clone(dropout=0.5)
    out = APPLY(variables, X, LEVEL, LABELS)
    np.testing.assert_allclose(net.apply(variables, X, LEVEL, LABELS), out, atol=2e-6)
    dropped = net.apply(variables, X, LEVEL, LABELS, jax.random.split(jax.random.key(0), 3))
    assert not np.allclose(dropped, out, atol=1e-2)


def test_sides_and_fields_that_do_not_divide_are_errors() -> None:
    with pytest.raises(UserError, match="sides that divide by 2"):
        NET.init(jax.random.key(0), jnp.zeros((1, 3, 4, 3)), jnp.zeros((1, 1, 1, 1)), jnp.zeros(1, jnp.int32))
    for problem, fields in {
        "do not divide into heads of 48": {"head_width": 48},
        "do not divide into 5 heads": {"heads": 5},
        "groups of the norms": {"channels": (32, 48)},
        "attention must name depths, of 0 … 1": {"attention": (2,)},
        "width must be even": {"width": 33},
    }.items():
        with pytest.raises(UserError, match=problem):
            NET.clone(**fields)
