"""MAR: contexts, outputs and whole draws of the original, and what its files must hold."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import grids, guidance, order
from diffjax.denoising import denoiser, with_variance
from diffjax.errors import UserError
from diffjax.nets.published_mar import PublishedMAR
from diffjax.order import Order
from diffjax.published import mar
from diffjax.published.tensor_mapping import net_shapes
from diffjax.sampling import blockwise, masked_autoregressive
from diffjax.sampling.loop import sample
from diffjax.steps import posterior
from diffjax.utils.prng import KeyUse, fold, keys
from tests.published.golden_files import GOLDEN, MAX_ERROR, read_case, relative_error, weight_file
from tests.published.recorded_noise import replay_noise, value_of

MAX_DRAW_ERROR = 1e-4  # of tokens: all but the first come from a net that read others
CASE = read_case(GOLDEN / "mar_128.npz")
MODEL = mar.FAMILY.read(CASE.file)
NET = MODEL.net
PARAMS = {"params": MODEL.params}
APPLY = jax.jit(NET.apply, static_argnames="method")
X = jnp.asarray(CASE.arrays["x"].transpose(0, 2, 3, 1))
LABELS = jnp.asarray(CASE.arrays["cond"], jnp.int32)
LEVELS = jnp.asarray(CASE.arrays["levels"]).reshape(*X.shape[:-1], 1)
KNOWN = jnp.asarray(CASE.arrays["known"]).reshape(LEVELS.shape)
PARTLY_KNOWN = jnp.where(KNOWN, -1, LEVELS)
DRAWS = ("mar_draw_guided", "mar_draw_whole_chain")


@pytest.mark.parametrize("name", ["mar_64", "mar_128", "mar_256"])
def test_contexts_and_outputs_are_the_originals(name) -> None:
    """Where none, some and nearly all tokens are known, each noisy one at a level of its own."""
    case = read_case(GOLDEN / f"{name}.npz")
    model = mar.FAMILY.read(case.file)
    params = {"params": model.params}
    x = jnp.asarray(case.arrays["x"].transpose(0, 2, 3, 1))
    levels = jnp.asarray(case.arrays["levels"]).reshape(*x.shape[:-1], 1)
    partly = jnp.where(case.arrays["known"].reshape(levels.shape), -1, levels)

    @jax.jit
    def evaluate(labels):
        z = model.net.apply(params, x, partly, labels, method="context")
        return z, model.net.apply(params, x, levels, z, method="head")

    z, out = evaluate(jnp.asarray(case.arrays["cond"], jnp.int32))
    assert relative_error(np.asarray(z)[:, ::2], case.arrays["z"]) <= MAX_ERROR
    assert relative_error(np.asarray(out), case.arrays["partly_known"]) <= MAX_ERROR


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_is_the_originals(name, monkeypatch) -> None:
    """With its orders and its noise, which every key looks up here."""
    case = read_case(GOLDEN / f"{name}.npz")
    model = mar.FAMILY.read(case.file)
    about, noise = case.about, case.arrays["noise"]
    blocks, positions = about["iterations"], noise.shape[2]
    examples = keys(0, noise.shape[1])
    replay_noise(monkeypatch, examples, np.tile(noise[1:], (blocks, 1, 1, 1)).reshape(-1, len(examples), *model.shape))
    rank_keys = fold(examples, KeyUse.RANK)

    def rank(key, shape):
        return (value_of(rank_keys, case.arrays["ranks"], key).reshape(shape) + 0.5) / positions

    denoise = denoiser(model.noise, model.net, {"params": model.params})
    if about["scale"] != 1:
        scale = masked_autoregressive.growing_scale(about["scale"], blocks)
        denoise = guidance.cfg(denoise, scale, model.net.null_cond)
    out = masked_autoregressive.sample(
        *(examples, model.noise, Order(0.0, rank), with_variance(denoise), model.shape),
        cond=jnp.asarray(case.arrays["cond"], jnp.int32) if "cond" in case.arrays else None,
        blocks=blocks,
        grid=jnp.asarray([(step + 1) / 1000 for step in about["chain"][::-1]] + [0.0]),
        step=posterior(learned_variance=True),
        start=jnp.asarray(noise[0].reshape(-1, *model.shape)),
    )
    counts = masked_autoregressive.known_counts(positions, blocks)
    np.testing.assert_array_equal(counts, [*about["known"], positions])
    assert relative_error(np.asarray(out), case.arrays["out"]) <= MAX_DRAW_ERROR


def test_the_noise_is_the_originals_chain() -> None:
    alpha2 = read_case(GOLDEN / f"{DRAWS[1]}.npz").arrays["alpha2"]
    steps = np.arange(1000)
    t = jnp.asarray((steps + 1) / 1000)
    np.testing.assert_allclose(MODEL.noise.schedule(t)[0] ** 2, alpha2, rtol=1e-5)
    np.testing.assert_allclose(MODEL.noise.level(t), steps, atol=1e-3)
    assert float(MODEL.noise.level(jnp.zeros(()))) == -1  # not the first step's


def test_a_token_is_known_at_the_level_of_data_alone() -> None:
    z = APPLY(PARAMS, X, PARTLY_KNOWN, LABELS, method="context")
    first_step = jnp.where(KNOWN, -1, 0.0)
    np.testing.assert_array_equal(APPLY(PARAMS, jnp.where(KNOWN, X, 7), first_step, LABELS, method="context"), z)
    assert (
        float(jnp.max(jnp.abs(APPLY(PARAMS, jnp.where(KNOWN, 7, X), first_step, LABELS, method="context") - z))) > 0.1
    )


def test_no_label_is_the_null_one_and_examples_are_independent() -> None:
    null = jnp.full(len(X), NET.null_cond)
    np.testing.assert_allclose(APPLY(PARAMS, X, PARTLY_KNOWN, null), APPLY(PARAMS, X, PARTLY_KNOWN), atol=1e-5)
    whole = APPLY(PARAMS, X, PARTLY_KNOWN, LABELS)
    np.testing.assert_allclose(APPLY(PARAMS, X[1:], PARTLY_KNOWN[1:], LABELS[1:]), whole[1:], atol=1e-5)


def test_the_head_of_some_tokens_is_that_of_all_there() -> None:
    z = APPLY(PARAMS, X, PARTLY_KNOWN, LABELS, method="context")
    whole = APPLY(PARAMS, X, LEVELS, z, method="head")
    moving = jnp.zeros(KNOWN.shape, bool).at[:, 1, 2].set(True).at[0, 3, 0].set(True)
    places = NET.apply(PARAMS, moving, 2, method="places")
    np.testing.assert_array_equal(places[:, 0], 6)
    part = APPLY(PARAMS, X, LEVELS, z, places, method="head")
    np.testing.assert_allclose(jnp.where(moving, part, 0), jnp.where(moving, whole, 0), atol=1e-5)
    assert int(jnp.sum(jnp.any(part != 0, axis=-1))) == 2 * len(X)


def test_gradients_are_finite() -> None:
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(NET.apply(params, X, PARTLY_KNOWN, LABELS) ** 2)))(PARAMS)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))


def test_block_by_block_it_draws_with_the_learned_variance() -> None:
    """`blockwise`, whose blocks are of one size, draws what the plain loop does."""
    denoise = with_variance(denoiser(MODEL.noise, NET, PARAMS))
    blocks, grid = order.blocks(4, shuffled=True), jnp.asarray([1.0, 0.5, 0.0])
    settings = {"cond": LABELS, "grid": grids.repeat_per_block(grid, 4), "step": posterior(learned_variance=True)}
    draws = [
        loop(keys(1, 3), MODEL.noise, blocks, denoise, MODEL.shape, **settings) for loop in (blockwise.sample, sample)
    ]
    assert relative_error(np.asarray(draws[0]), np.asarray(draws[1])) < 1e-4


def test_the_published_base_has_its_tensors() -> None:
    shapes = net_shapes(PublishedMAR(), (16, 16, 16), jnp.zeros(1, jnp.int32))
    assert (len(shapes), sum(map(prod, shapes.values()))) == (364, 207_924_768)


def test_what_does_not_fit_is_named() -> None:
    tensors = {name: tensor.read() for name, tensor in CASE.file.tensors.items()}
    missing = "encoder_blocks.1.attn.qkv.bias"
    with pytest.raises(UserError, match=rf"^mar\.pth: has no tensor '{missing}'.*; use"):
        mar.FAMILY.read(weight_file({name: tensors[name] for name in tensors if name != missing}, "mar.pth"))
    for name, values, problem in (
        ("class_emb.weight", tensors["class_emb.weight"][0], r"'class_emb\.weight' has shape \(128,\)"),
        ("diffusion_pos_embed_learned", tensors["diffusion_pos_embed_learned"][:, :15], "15 tokens"),
        ("encoder_pos_embed_learned", tensors["encoder_pos_embed_learned"][:, :16], "buffer"),
        ("mask_token", tensors["mask_token"][..., :5], "'mask_token'"),
        ("decoder_blocks.2.norm1.bias", tensors["decoder_norm.bias"], r"'decoder_blocks\.2"),
        ("pos_embed", tensors["mask_token"], "'pos_embed'"),
    ):
        with pytest.raises(UserError, match=rf"^mar\.pth: .*{problem}.*; use"):
            mar.FAMILY.read(weight_file({**tensors, name: values}, "mar.pth"))
    with pytest.raises(UserError, match=r"PublishedMAR: .*4 by 4"):
        jax.eval_shape(NET.init, jax.random.key(0), jnp.zeros((1, 5, 4, 4)), jnp.zeros((1, 1, 1, 1)))
