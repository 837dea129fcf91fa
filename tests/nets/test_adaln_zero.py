"""The published diffusion transformer against its arithmetic in NumPy (float64), written from the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import nets
from diffjax.errors import UserError
from diffjax.nets.adaln_zero import sincos_positions
from diffjax.utils.tree_paths import leaves_by_name

WIDTH, HEADS, DEPTH, PATCH, SHAPE = 16, 2, 2, 2, (2, 4, 6, 3)


def randomized(net, x, level, label):
    """Parameters without a zero: what starts at 0 takes part."""
    params = net.init(jax.random.key(0), x, level, label)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [0.3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    )


def linear(params, x):
    return x @ params["kernel"] + params["bias"]


def silu(x):
    return x / (1 + np.exp(-x))


def norm(x, shift, scale):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * (1 + scale) + shift


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attention(params, x):
    b, n, width = x.shape
    q, k, v = np.moveaxis(linear(params["Dense_0"], x).reshape(b, n, 3, HEADS, width // HEADS), 2, 0)
    scores = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(width // HEADS)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return linear(params["Dense_1"], np.einsum("bhnm,bmhd->bnhd", weights, v).reshape(b, n, width))


def block(params, h, c):
    six = np.split(linear(params["Conditioning_0"]["Dense_0"], c)[:, None], 6, axis=-1)
    shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp = six
    h = h + gate_attention * attention(params["Attention_0"], norm(h, shift_attention, scale_attention))
    inner = gelu(linear(params["Dense_0"], norm(h, shift_mlp, scale_mlp)))
    return h + gate_mlp * linear(params["Dense_1"], inner)


def positions(rows, columns, width):
    """Of one patch: column first, then row; within each, sines first."""
    result = np.empty((rows, columns, width))
    quarter = width // 4
    for y in range(rows):
        for x in range(columns):
            for i in range(quarter):
                omega = 1 / 10_000 ** (i / quarter)
                result[y, x, [i, quarter + i]] = np.sin(x * omega), np.cos(x * omega)
                result[y, x, [2 * quarter + i, 3 * quarter + i]] = np.sin(y * omega), np.cos(y * omega)
    return result.reshape(rows * columns, width)


def dit(params, x, level, label):
    b, height, width, channels = x.shape
    rows, columns = height // PATCH, width // PATCH
    patches = (
        x.reshape(b, rows, PATCH, columns, PATCH, channels).transpose(0, 1, 3, 2, 4, 5).reshape(b, rows * columns, -1)
    )
    h = linear(params["Dense_0"], patches) + positions(rows, columns, WIDTH)
    angles = np.outer(level, 1000.0 ** np.linspace(0, 1, WIDTH // 2))
    c = np.concatenate([np.sin(angles), np.cos(angles)], -1)
    c = linear(params["Embedding_0"]["Dense_1"], silu(linear(params["Embedding_0"]["Dense_0"], c)))
    c = silu(c + params["Embedding_0"]["Embed_0"]["embedding"][label])
    for i in range(DEPTH):
        h = block(params[f"AdaLNZeroBlock_{i}"], h, c)
    shift, scale = np.split(linear(params["FinalLayer_0"]["Conditioning_0"]["Dense_0"], c)[:, None], 2, axis=-1)
    out = linear(params["FinalLayer_0"]["Dense_0"], norm(h, shift, scale))
    return out.reshape(b, rows, columns, PATCH, PATCH, channels).transpose(0, 1, 3, 2, 4, 5).reshape(x.shape)


@pytest.fixture(scope="module")
def case():
    net = nets.DiT(patch=PATCH, width=WIDTH, depth=DEPTH, heads=HEADS, classes=3)
    x = jax.random.normal(jax.random.key(2), SHAPE)
    level, label = jnp.asarray([0.03, -0.07]).reshape(2, 1, 1, 1), jnp.asarray([0, 2])
    return net, randomized(net, x, level, label), x, level, label


def test_the_net_is_the_papers(case):
    net, params, x, level, label = case
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    expected = dit(exact, np.asarray(x, np.float64), np.asarray(level, np.float64).reshape(2), np.asarray(label))
    np.testing.assert_allclose(
        net.apply(params, x, level, label), expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max()
    )


def test_every_block_starts_as_the_identity_and_the_output_as_zero(case):
    net, _, x, level, label = case
    params = net.init(jax.random.key(0), x, level, label)
    states = net.apply(params, x, level, label, inside=True)
    np.testing.assert_array_equal(states[0], states[-1])
    np.testing.assert_array_equal(net.apply(params, x, level, label), 0)


def test_positions_of_a_rectangle_have_the_column_first():
    np.testing.assert_allclose(sincos_positions((2, 3), 8), positions(2, 3, 8), atol=1e-7)


def test_a_width_without_two_features_for_each_axis_is_refused():
    net = nets.DiT(width=2, heads=2)
    with pytest.raises(UserError, match="width"):
        net.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)), jnp.ones((1, 1, 1, 1)))


def stack(params, depth):
    """The parameters of a net with scan=True that are those of one with scan=False."""
    rest = {name: leaf for name, leaf in params.items() if not name.startswith("AdaLNZeroBlock")}
    blocks = [params[f"AdaLNZeroBlock_{i}"] for i in range(depth)]
    return {**rest, "AdaLNZeroBlock": jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}


@pytest.mark.parametrize("remat", [False, True, "products"])
@pytest.mark.parametrize("options", [{}, {"perturbed": (1,)}], ids=["plain", "perturbed"])
def test_a_scan_is_the_blocks_one_after_the_other(case, options, remat):
    net, params, x, level, label = case
    net = net.clone(dropout=0.2, **options)
    scanned = {"params": stack(params["params"], DEPTH)}
    keys = jax.random.split(jax.random.key(3), len(x))

    def mean_square(net):
        return jax.jit(jax.value_and_grad(lambda params: jnp.mean(net.apply(params, x, level, label, keys) ** 2)))

    value, slopes = mean_square(net)(params)
    scanned_value, scanned_slopes = mean_square(net.clone(scan=True, remat=remat))(scanned)
    np.testing.assert_allclose(scanned_value, value, rtol=1e-6)
    expected = stack(slopes["params"], DEPTH)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale), scanned_slopes["params"], expected
    )


def test_a_scanned_net_starts_as_blocks_that_differ(case):
    net, _, x, level, label = case
    params = net.clone(scan=True).init(jax.random.key(0), x, level, label)["params"]
    kernel = params["AdaLNZeroBlock"]["Dense_0"]["kernel"]
    assert kernel.shape == (DEPTH, WIDTH, 4 * WIDTH)
    bound = np.sqrt(6 / (WIDTH + 4 * WIDTH))
    assert np.abs(kernel).max() <= bound
    assert np.std(kernel[0] - kernel[1]) > bound / 2


def test_adapters_refuse_stacked_blocks():
    with pytest.raises(UserError, match="scan=False"):
        nets.lora(nets.DiT(scan=True))


def test_the_names_of_the_parameters_are_those_of_files_and_checkpoints() -> None:
    """Published weights and stored runs are read by them."""
    net = nets.DiT(width=8, depth=1, heads=2, classes=2)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 1, 1, 1)))["params"]
    block = {name: leaf.shape for name, leaf in leaves_by_name(shapes["AdaLNZeroBlock_0"]).items() if "kernel" in name}
    assert block == {
        "Attention_0/Dense_0/kernel": (8, 24),
        "Attention_0/Dense_1/kernel": (8, 8),
        "Conditioning_0/Dense_0/kernel": (8, 48),
        "Dense_0/kernel": (8, 32),
        "Dense_1/kernel": (32, 8),
    }
    outside = {name for name in leaves_by_name(shapes) if "Block" not in name and "kernel" in name}
    assert outside == {
        "Dense_0/kernel",
        "Embedding_0/Dense_0/kernel",
        "Embedding_0/Dense_1/kernel",
        "FinalLayer_0/Conditioning_0/Dense_0/kernel",
        "FinalLayer_0/Dense_0/kernel",
    }
