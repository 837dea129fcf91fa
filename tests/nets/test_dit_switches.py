"""The switches of DiT for its successors, each against its paper's formula in NumPy (float64), alone and together."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import net_inputs, nets, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets import attention
from diffjax.nets.adaln_zero import sincos_positions
from diffjax.nets.block_parts import gated_width
from diffjax.nets.class_tokens import ClassTokens
from diffjax.nets.condition_encoders import Picture
from diffjax.nets.patchify import from_patches, to_patches
from diffjax.nets.rotary import rotate
from diffjax.noise import Gaussian
from diffjax.protocols import ConditionPart
from diffjax.published.dit import published_tensors
from diffjax.published.family import PublishedModel
from diffjax.utils.tree_paths import leaves_by_name

WIDTH, HEADS, PATCH = 16, 2, 2
D = WIDTH // HEADS
PLAIN = nets.DiT(patch=PATCH, width=WIDTH, depth=2, heads=HEADS, classes=3)
SWITCHES = {
    "norm": {"norm": "rms"},
    "mlp": {"mlp": "swiglu"},
    "rotary": {"rotary": True},
    "qk_norm": {"qk_norm": True},
    "bottleneck": {"bottleneck": 3},
    "class_tokens": {"class_tokens": 3, "class_tokens_start": 1},
}
ALL = {name: value for switch in SWITCHES.values() for name, value in switch.items()}
LABEL = jnp.asarray([0, 2])


def inputs(*shape, per_patch=False):
    """x [2, *shape] and its levels: one each, or one for every patch, constant within."""
    x = jax.random.normal(jax.random.key(2), (2, *shape))
    if not per_patch:
        return x, jnp.asarray([0.03, -0.07]).reshape(2, *(1,) * len(shape))
    levels = jax.random.uniform(jax.random.key(3), (2, *(-(-side // PATCH) for side in shape[:-1]), 1))
    for axis, side in enumerate(shape[:-1], start=1):
        levels = jnp.repeat(levels, PATCH, axis=axis).take(jnp.arange(side), axis=axis)
    return x, levels


def randomized(net, x, level, cond=LABEL):
    """Parameters without a zero: what starts at 0 takes part."""
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, level, cond)
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return tree.unflatten([jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves])


def stacked(params, depth):
    """The parameters of a net with scan=True that are those of one with scan=False."""
    rest = {name: leaf for name, leaf in params.items() if not name.startswith("AdaLNZeroBlock")}
    blocks = [params[f"AdaLNZeroBlock_{i}"] for i in range(depth)]
    return {**rest, "AdaLNZeroBlock": jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}


# The formulas.


def linear(params, x):
    return x @ params["kernel"] + params.get("bias", 0)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def layer(params, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)


def rms(params, x):
    """Zhang & Sennrich 2019, eq. 4."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * params["scale"]


def swiglu(params, x):
    """Shazeer 2020, eq. 6: (Swish_1(x W) ⊙ x V) W_2, with biases."""
    hidden = params["Dense_1"]["kernel"].shape[0]
    gate = x @ params["Dense_0"]["kernel"][:, :hidden] + params["Dense_0"]["bias"][:hidden]
    value = x @ params["Dense_0"]["kernel"][:, hidden:] + params["Dense_0"]["bias"][hidden:]
    return linear(params["Dense_1"], silu(gate) * value)


def turned(x, sides):
    """Su et al. 2021, eq. 12 for each pair and position; x is [n, d], the last tokens being those of the grid."""
    x = x.copy()
    pairs = x.shape[1] // 2 // len(sides)
    for token, place in enumerate(np.ndindex(*sides), start=len(x) - int(np.prod(sides))):
        for axis, position in enumerate(place):
            for i in range(pairs):
                j = 2 * (axis * pairs + i)
                value = complex(*x[token, j : j + 2]) * np.exp(1j * position * 10_000 ** (-i / pairs))
                x[token, j : j + 2] = value.real, value.imag
    return x


def attend(net, params, x, sides):
    b, n, width = x.shape
    q, k, v = np.moveaxis(linear(params["Dense_0"], x).reshape(b, n, 3, HEADS, D), 2, 0)
    if net.qk_norm:
        q, k = rms(params["QueryNorm"], q), rms(params["KeyNorm"], k)
    if net.rotary:
        for example in range(b):
            for head in range(HEADS):
                q[example, :, head] = turned(q[example, :, head], sides)
                k[example, :, head] = turned(k[example, :, head], sides)
    scores = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(D)
    if net.causal:
        block = np.floor(np.arange(-(n - np.prod(sides)), np.prod(sides)) / net.causal)  # class tokens are before 0
        scores = np.where(block[:, None] >= block, scores, -np.inf)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return linear(params["Dense_1"], np.einsum("bhnm,bmhd->bnhd", weights, v).reshape(b, n, width))


def conditioned(params, c, count):
    return np.split(linear(params["Conditioning_0"]["Dense_0"], c), count, axis=-1)


def block(net, params, h, c, sides):
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = conditioned(params, c, 6)
    norm = {"layer": layer, "rms": rms}[net.norm]
    inner = norm(params.get("RMSNorm_0"), h) * (1 + scale) + shift
    h = h + gate * attend(net, params["Attention_0"], inner, sides)
    inner = norm(params.get("RMSNorm_1"), h) * (1 + scale_mlp) + shift_mlp
    if net.mlp == "gelu":
        return h + gate_mlp * linear(params["Dense_1"], gelu(linear(params["Dense_0"], inner)))
    return h + gate_mlp * swiglu(params, inner)


def embedded(params, level, label):
    """The vectors of levels [b, n], and those of the classes."""
    angles = level[..., None] * 1000.0 ** np.linspace(0, 1, WIDTH // 2)
    waves = np.concatenate([np.sin(angles), np.cos(angles)], -1)
    hidden = linear(params["Dense_1"], silu(linear(params["Dense_0"], waves)))
    classes = params["Embed_0"]["embedding"][label][:, None]
    return silu(hidden + classes), classes


def reference(net, params, x, level, label):
    """The whole net: level is [b, n], or [b, 1]."""
    sides = tuple(side // PATCH for side in x.shape[1:-1])
    h = np.asarray(to_patches(x, PATCH), np.float64)
    if net.bottleneck:
        h = h @ params["Bottleneck"]["kernel"]
    h = linear(params["Dense_0"], h) + np.asarray(sincos_positions(sides, WIDTH), np.float64)
    c, classes = embedded(params["Embedding_0"], level, label)
    of_patches = c
    for i in range(net.depth):
        if net.class_tokens and i == net.class_tokens_start:
            h = np.concatenate([params["ClassTokens_0"]["tokens"] + classes, h], axis=1)
            mean = level[:, : net.causal or None].mean(1, keepdims=True)
            if level.shape[1] > 1:
                first = np.repeat(embedded(params["Embedding_0"], mean, label)[0], net.class_tokens, axis=1)
                c = np.concatenate([first, c], axis=1)
        h = block(net, params[f"AdaLNZeroBlock_{i}"], h, c, sides)
    h = h[:, net.class_tokens :]
    final = params["FinalLayer_0"]
    shift, scale = conditioned(final, of_patches, 2)
    norm = {"layer": layer, "rms": rms}[net.norm]
    out = linear(final["Dense_0"], norm(final.get("RMSNorm_0"), h) * (1 + scale) + shift)
    return from_patches(jnp.asarray(out), x.shape, PATCH)


def check_against_reference(net, shape, per_patch=False):
    x, level = inputs(*shape, per_patch=per_patch)
    params = randomized(net.clone(scan=False), x, level)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    levels = np.asarray(to_patches(level, PATCH).mean(2) if per_patch else level.reshape(2, 1), np.float64)
    expected = reference(net, exact, x, levels, np.asarray(LABEL))
    params = {"params": stacked(params["params"], net.depth)} if net.scan else params
    out = jax.jit(net.apply)(params, x, level, LABEL)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=3e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_its_papers_formula(name) -> None:
    check_against_reference(PLAIN.clone(**SWITCHES[name]), (4, 6, 3))


@pytest.mark.parametrize("causal", [1, 3])
def test_all_switches_with_a_level_for_each_patch(causal) -> None:
    check_against_reference(PLAIN.clone(**ALL, causal=causal), (4, 6, 3), per_patch=True)


def test_all_switches_of_volumes_in_a_scan() -> None:
    """Of four pairs of features each axis has one, and one is not turned. All blocks have the class tokens."""
    check_against_reference(PLAIN.clone(**{**ALL, "class_tokens_start": 0}, scan=True), (2, 4, 4, 1))


# Rotary position embedding.


@pytest.mark.parametrize(("sides", "features"), [((5,), 8), ((2, 3), 8), ((2, 3), 6), ((2, 2, 3), 14)])
def test_rotation_is_the_formula_and_keeps_lengths(sides, features) -> None:
    x = np.random.default_rng(0).normal(size=(2, 2 + int(np.prod(sides)), 3, features)).astype(np.float32)
    out = np.asarray(rotate(jnp.asarray(x), sides))
    np.testing.assert_array_equal(out[:, :2], x[:, :2])  # tokens before the grid
    np.testing.assert_allclose(out[1, :, 2], turned(x[1, :, 2].astype(np.float64), sides), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)


@pytest.mark.parametrize("sides", [(7,), (4, 5), (3, 2, 3)])
def test_scores_depend_on_relative_positions_alone(sides) -> None:
    """Of one query and one key, wherever they are; on the position of each axis."""
    rng = np.random.default_rng(1)
    n = int(np.prod(sides))
    query, key = (jnp.asarray(np.tile(rng.normal(size=12), (1, n, 1, 1)), jnp.float32) for _ in range(2))
    scores = np.einsum("nd,md->nm", rotate(query, sides)[0, :, 0], rotate(key, sides)[0, :, 0])
    places = np.indices(sides).reshape(len(sides), -1).T
    by_difference = {}
    for i, j in np.ndindex(n, n):
        by_difference.setdefault(tuple(places[j] - places[i]), []).append(scores[i, j])
    assert max(np.ptp(values) for values in by_difference.values()) < 1e-4
    nearest = [by_difference[tuple(row)][0] for row in np.eye(len(sides), dtype=int)]
    assert np.ptp([*nearest, by_difference[(0,) * len(sides)][0]]) > 0.1


@pytest.mark.parametrize(("width", "shape"), [(6, (4, 4, 1)), (4, (4, 4, 1)), (8, (2, 2, 2, 1))])
def test_heads_without_a_pair_of_features_for_each_axis_are_refused(width, shape) -> None:
    net = nets.DiT(width=width, heads=2, depth=1, rotary=True)
    with pytest.raises(UserError, match=r"^net: rotary "):
        jax.eval_shape(net.init, jax.random.key(0), *inputs(*shape))


# Query-key normalization.


def test_normalized_queries_and_keys_have_bounded_scores(monkeypatch) -> None:
    scores = []

    def capture(query, key, *arguments):
        scores.append(jnp.einsum("bnhd,bmhd->bhnm", query, key) / D**0.5)
        return query

    monkeypatch.setattr(attention, "attend", capture)
    h = 1e3 * jax.random.normal(jax.random.key(0), (2, 6, WIDTH))
    bounds = []
    for options in ({"qk_norm": True}, {"qk_norm": True, "rotary": (2, 3)}, {}):
        module = attention.Attention(HEADS, jnp.float32, **options)
        params = module.init(jax.random.key(1), h, 0)["params"]
        if options:
            assert params["QueryNorm"]["scale"].shape == params["KeyNorm"]["scale"].shape == (D,)  # shared by heads
            params["QueryNorm"]["scale"] = jnp.linspace(-2.0, 1.0, D)
            bounds.append(2.0 * D**0.5)
        module.apply({"params": params}, h, 0)
    normalized, turned_too, plain = (float(jnp.abs(scores[i]).max()) for i in (1, 3, 5))
    assert normalized <= bounds[0] * (1 + 1e-5)
    assert turned_too <= bounds[1] * (1 + 1e-5)
    assert plain > 100 * bounds[0]


# SwiGLU.


@pytest.mark.parametrize(("width", "hidden"), [(768, 2048), (1152, 3072), (64, 170), (1024, 2730), (1, 2)])
def test_a_gated_mlp_has_two_thirds_of_the_features_and_as_many_parameters(width, hidden) -> None:
    """Two thirds of 4 width, rounded down, as LightningDiT and JiT have it."""
    assert gated_width(width) == hidden


def test_gated_and_plain_mlps_have_as_many_parameters() -> None:
    def count(mlp):
        shapes = jax.eval_shape(PLAIN.clone(width=48, mlp=mlp).init, jax.random.key(0), *inputs(4, 4, 1), LABEL)
        kernels = [leaves_by_name(shapes["params"])[f"AdaLNZeroBlock_0/Dense_{i}/kernel"].size for i in range(2)]
        return sum(kernels)

    assert count("swiglu") == count("gelu") == 8 * 48**2


# The defaults.


def test_the_defaults_have_the_parameters_that_they_had() -> None:
    """Names and shapes that published weights and checkpoints are read by."""
    x, level = inputs(4, 4, 3)
    shapes = leaves_by_name(jax.eval_shape(PLAIN.clone(depth=1).init, jax.random.key(0), x, level, LABEL)["params"])
    dense = {
        "Dense_0": (12, 16),
        "Embedding_0/Dense_0": (16, 16),
        "Embedding_0/Dense_1": (16, 16),
        "AdaLNZeroBlock_0/Conditioning_0/Dense_0": (16, 96),
        "AdaLNZeroBlock_0/Attention_0/Dense_0": (16, 48),
        "AdaLNZeroBlock_0/Attention_0/Dense_1": (16, 16),
        "AdaLNZeroBlock_0/Dense_0": (16, 64),
        "AdaLNZeroBlock_0/Dense_1": (64, 16),
        "FinalLayer_0/Conditioning_0/Dense_0": (16, 32),
        "FinalLayer_0/Dense_0": (16, 12),
    }
    expected = {"Embedding_0/Embed_0/embedding": (4, 16)}
    for name, shape in dense.items():
        expected |= {f"{name}/kernel": shape, f"{name}/bias": shape[1:]}
    assert {name: leaf.shape for name, leaf in shapes.items()} == expected


# All at once.


def test_all_switches_scan_as_one_block_after_the_other_and_every_parameter_has_a_gradient() -> None:
    """Causal, with dropout, rematerialized, and of sides that patches do not divide."""
    net = PLAIN.clone(**ALL, causal=1, dropout=0.2)
    x, level = inputs(3, 5, 2, per_patch=True)
    params = randomized(net, x, level)["params"]
    keys = jax.random.split(jax.random.key(3), 2)

    def mean_square(params, net):
        return jnp.mean(net.apply({"params": params}, x, level, LABEL, keys) ** 2)

    scanned = jax.jit(jax.value_and_grad(partial(mean_square, net=net.clone(scan=True, remat=True))))
    value, slopes = scanned(stacked(params, net.depth))
    np.testing.assert_allclose(jax.jit(partial(mean_square, net=net))(params), value, rtol=1e-5)
    assert all(bool(jnp.all(jnp.any(leaf != 0, axis=-1))) for leaf in jax.tree.leaves(slopes["AdaLNZeroBlock"]))
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(slopes))


def test_no_output_depends_on_later_patches_or_their_levels() -> None:
    net = PLAIN.clone(**ALL, causal=3, patch=1)
    x = jax.random.normal(jax.random.key(0), (1, 3, 3, 1))
    level = jax.random.uniform(jax.random.key(1), x.shape)
    params = randomized(net, x, level, None)
    apply = jax.jit(lambda x, level: net.apply(params, x, level).ravel())
    before = apply(x, level)
    blocks = np.arange(9) // 3
    for i in range(9):
        change = jnp.zeros(9).at[i].set(0.1).reshape(x.shape)
        for after in (apply(x + change, level), apply(x, level + change)):
            np.testing.assert_array_equal(np.asarray(after != before), blocks >= blocks[i])


def test_one_level_for_all_is_every_patch_at_that_level() -> None:
    net = PLAIN.clone(**ALL)
    x, level = inputs(5, 4, 2)
    params = randomized(net, x, level)
    apply = jax.jit(net.apply)
    one = apply(params, x, level, LABEL)
    np.testing.assert_allclose(apply(params, x, jnp.broadcast_to(level, (2, 5, 4, 1)), LABEL), one, atol=1e-4)


def test_a_controlled_net_is_its_base_at_first_and_then_is_not() -> None:
    """States of the blocks, of which the later ones have class tokens, are added to those of the base."""
    base = PLAIN.clone(**ALL)
    net = nets.control(base.clone(conditions=(Picture(shape=(4, 4, 1)),)))
    x, level = inputs(4, 4, 1)
    cond = {"label": LABEL, "sketch": ConditionPart(jnp.ones((2, 4, 4, 1)), jnp.ones(2, bool))}
    variables = jax.eval_shape(net.init, jax.random.key(0), x, level, cond)["params"]
    base_params = randomized(base, x, level)["params"]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    apply = jax.jit(lambda params: net.apply({"params": params}, x, level, cond))
    at_first = {**zeros, "base": base_params}
    expected = jax.jit(base.apply)({"params": base_params}, x, level, LABEL)
    np.testing.assert_allclose(apply(at_first), expected, atol=1e-5)
    trained = {**at_first, "zero": jax.tree.map(lambda leaf: leaf + 0.1, zeros["zero"])}
    assert float(jnp.abs(apply(trained) - expected).max()) > 1e-2


def test_a_perturbed_block_and_bfloat16_run() -> None:
    """A block whose attention is the identity needs no queries; bfloat16 is near float32."""
    net = PLAIN.clone(**ALL, perturbed=(1,))
    x, level = inputs(4, 4, 1)
    params = randomized(net, x, level)
    apply = jax.jit(net.apply)
    out = apply(params, x, level, LABEL)
    moved = jax.tree.map_with_path(
        lambda path, leaf: leaf + ("QueryNorm" in str(path) and "Block_1" in str(path)), params
    )
    np.testing.assert_array_equal(apply(moved, x, level, LABEL), out)
    half = jax.jit(net.clone(dtype="bfloat16").apply)(params, x, level, LABEL)
    assert half.dtype == jnp.float32
    assert 1e-4 < float(jnp.abs(half - out).mean() / jnp.abs(out).mean()) < 0.1


@pytest.mark.parametrize("shape", [(7, 2), (2, 3, 4, 1)])
def test_sizes_and_ranks_share_no_parameter_but_those_of_patches(shape) -> None:
    """Heads of 16 features serve up to 8 axes; sides serve any other."""
    net = PLAIN.clone(**ALL, heads=1, scan=True)
    sides = [3 * side for side in shape[:-1]]
    variables = jax.eval_shape(net.init, jax.random.key(0), *inputs(*shape), LABEL)
    for other in (shape, (*sides, shape[-1])):
        x, level = inputs(*other)
        assert jax.eval_shape(net.apply, variables, x, level, LABEL).shape == x.shape


def test_class_tokens_without_a_class_are_the_learned_ones() -> None:
    module = ClassTokens(2, 4, jnp.float32)
    params = module.init(jax.random.key(0), None, 3)
    tokens = params["params"]["tokens"]
    np.testing.assert_array_equal(module.apply(params, None, 3), jnp.broadcast_to(tokens, (3, 2, 4)))
    net = PLAIN.clone(classes=0, class_tokens=2)
    x, level = inputs(4, 4, 1)
    assert jax.eval_shape(partial(net.init_with_output, jax.random.key(0)), x, level)[0].shape == x.shape


# Mistakes.


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("norm", {"norm": "batch"}),
        ("mlp", {"mlp": "relu"}),
        ("bottleneck", {"bottleneck": -1}),
        ("class_tokens", {"class_tokens": -1}),
        ("class_tokens_start", {"depth": 2, "class_tokens_start": 2}),
        ("norm", {"norm": "rms", "adaln_zero": False}),
        ("rotary", {"rotary": True, "adaln_zero": False}),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(name, options) -> None:
    with pytest.raises(UserError, match=rf"^net: .*\b{name}\b"):
        nets.DiT(**options)


def test_what_the_published_program_lacks_is_not_written_in_its_layout() -> None:
    sit = Gaussian(schedule.flow, predict.velocity, inputs=net_inputs.flow_time)
    plain = PublishedModel(
        nets.DiT(width=64, heads=1, classes=3, frequencies=256), {}, sit, order.together, (4, 4, 3), 3
    )
    with pytest.raises(KeyError):  # that net could be written, and has no parameters here
        published_tensors(plain)
    for options in SWITCHES.values():
        with pytest.raises(UserError, match=r"^layout: "):
            published_tensors(plain._replace(net=plain.net.clone(**options)))
