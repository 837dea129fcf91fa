"""The text encoder of CLIP against transformers', and its own laws."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PyTree
from safetensors.numpy import save_file

from diffjax.errors import UserError
from diffjax.nets.clip_text import CLIPText
from diffjax.published.clip_text import TextEncoder, encode, read_text_encoder
from diffjax.published.stored_tensors import StoredTensor, WeightFile
from diffjax.published.weight_files import is_weight_file, read_weight_file
from tests.published.golden_files import GOLDEN, MAX_ERROR, Case, read_case, relative_error, weight_file

TOKENIZER = GOLDEN / "tokenizer"
NETS = {
    "clip_text_64": CLIPText(200, 77, 64, 3, 2, 192),
    "clip_text_96": CLIPText(200, 77, 96, 2, 3, 288, "gelu"),
    "clip_text_128": CLIPText(200, 77, 128, 2, 2, 384, epsilon=1e-3),
}
SMALL = CLIPText(1514, 77, 32, 1, 2, 64)  # of the tokenizer's vocabulary


@cache
def case_of(name: str) -> Case:
    return read_case(GOLDEN / f"{name}.npz")


def with_vocabulary(file: WeightFile) -> WeightFile:
    """The file with rows for the tokenizer's vocabulary, the first ones repeated."""
    rows = file.tensors["embeddings.token_embedding.weight"].read()
    table = rows[np.arange(SMALL.vocab) % len(rows)]
    tensors = {**file.tensors, "embeddings.token_embedding.weight": stored(table)}
    return replace(file, tensors=tensors, config={**file.config, "vocab_size": SMALL.vocab})


def stored(values: np.ndarray) -> StoredTensor:
    return StoredTensor(values.shape, values.dtype, lambda: values)


@cache
def encoder_of(name: str) -> TextEncoder:
    return read_text_encoder(with_vocabulary(case_of(name).file), TOKENIZER)


@pytest.mark.parametrize("name", NETS)
def test_the_states_are_those_of_the_original(name) -> None:
    arrays, encoder = case_of(name).arrays, encoder_of(name)
    assert encoder.net == NETS[name].clone(vocab=SMALL.vocab)
    call = jax.jit(encoder.net.apply)
    lengths = [key.removeprefix("tokens_") for key in arrays if key.startswith("tokens_")]
    assert lengths[-1] == "77"
    for length in lengths:
        states = call({"params": encoder.params}, arrays[f"tokens_{length}"])
        assert relative_error(np.asarray(states), arrays[f"states_{length}"]) <= MAX_ERROR


def test_prompts_become_states_of_their_tokens() -> None:
    encoder = encoder_of("clip_text_64")
    prompts = ["a cat", "", "an astronaut on a horse " * 30]
    states = encode(encoder, prompts)
    assert (states.shape, states.dtype) == ((3, 77, 64), jnp.float32)
    tokens = encoder.tokenizer.encode(prompts)
    assert np.array_equal(states, jax.jit(encoder.net.apply)({"params": encoder.params}, tokens))
    assert [encoder.tokenizer.overflow(prompt) == "" for prompt in prompts] == [True, True, False]


def test_prompts_do_not_see_each_other() -> None:
    encoder = encoder_of("clip_text_64")
    pair, single = encode(encoder, ["a cat", "two dogs"]), encode(encoder, ["two dogs"])
    assert relative_error(np.asarray(pair[1:]), np.asarray(single)) <= 1e-6


def test_a_token_sees_itself_and_those_before_it() -> None:
    encoder = encoder_of("clip_text_96")
    call = jax.jit(lambda tokens: encoder.net.apply({"params": encoder.params}, tokens))
    tokens = jnp.arange(12)[None]
    states = call(tokens)
    for place in (0, 5, 11):
        other = call(tokens.at[0, place].set(100))
        changed = np.abs(np.asarray(other - states)[0]).max(axis=-1)
        assert changed[:place].max(initial=0) <= 1e-6
        assert changed[place:].min() > 1e-3
    assert relative_error(np.asarray(call(tokens[:, :7])), np.asarray(states[:, :7])) <= 1e-6


def test_padding_is_a_token_like_others() -> None:
    """States after the end token depend on which token pads, and the prompt's do not."""
    encoder = encoder_of("clip_text_64")
    other = replace(encoder, tokenizer=replace(encoder.tokenizer, padding=3))
    difference = np.abs(np.asarray(encode(encoder, ["a cat"]) - encode(other, ["a cat"]))[0]).max(axis=-1)
    end = encoder.tokenizer.count("a cat")
    assert difference[:end].max() <= 1e-6
    assert difference[end:].min() > 1e-3


def test_gradients_are_finite() -> None:
    tokens = jnp.arange(6)[None]

    def energy(params: PyTree) -> jax.Array:
        return jnp.square(jnp.asarray(SMALL.apply({"params": params}, tokens))).sum()

    gradients = jax.jit(lambda key: jax.grad(energy)(SMALL.init(key, tokens)["params"]))(jax.random.key(0))
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all()), gradients))


def write_encoder(folder: Path, file: WeightFile, prefix: str = "") -> Path:
    """A folder as transformers writes it; older versions had a prefix, and a buffer."""
    folder.mkdir()
    tensors = {prefix + name: tensor.read() for name, tensor in file.tensors.items()}
    if prefix:
        tensors[f"{prefix}embeddings.position_ids"] = np.arange(77)[None]
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(dict(file.config)))
    return folder


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_folder_of_a_pipeline_is_read(prefix, tmp_path) -> None:
    folder = write_encoder(tmp_path / "text_encoder", with_vocabulary(case_of("clip_text_64").file), prefix)
    file = read_weight_file(folder)
    assert is_weight_file(folder)
    assert file.kind == "CLIPTextModel"
    encoder = read_text_encoder(file, TOKENIZER)
    assert encoder.net == encoder_of("clip_text_64").net
    same = jax.tree.map(
        lambda one, other: bool((one == other).all()), encoder.params, encoder_of("clip_text_64").params
    )
    assert jax.tree.all(same)


def test_a_config_need_not_name_its_class_nor_what_is_usual(tmp_path) -> None:
    file = with_vocabulary(case_of("clip_text_64").file)
    usual = ("architectures", "layer_norm_eps", "max_position_embeddings", "hidden_act")
    config = {name: value for name, value in file.config.items() if name not in usual}
    folder = write_encoder(tmp_path / "text_encoder", replace(file, config=config))
    assert read_text_encoder(read_weight_file(folder), TOKENIZER).net == encoder_of("clip_text_64").net


@pytest.mark.parametrize(
    "kind", ["CLIPTextModelWithProjection", "T5EncoderModel", "ChatGLMModel", "AutoencoderKL", "\x1b[31m" * 100]
)
def test_another_class_is_refused_by_name(kind, tmp_path) -> None:
    file = case_of("clip_text_64").file
    folder = write_encoder(tmp_path / "text_encoder", replace(file, config={**file.config, "architectures": [kind]}))
    with pytest.raises(UserError, match=r"text_encoder: has a text encoder .* known is CLIPTextModel$") as error:
        read_text_encoder(read_weight_file(folder), TOKENIZER)
    assert kind.startswith("\x1b") or repr(kind) in str(error.value)
    assert len(str(error.value)) < 500


def test_a_file_without_its_config_is_refused() -> None:
    with pytest.raises(UserError, match=r"^text_encoder: does not say the class of its text encoder"):
        read_text_encoder(replace(case_of("clip_text_64").file, kind="", config={}), TOKENIZER)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not known here; known are quick_gelu, gelu"),
        ({"hidden_act": 3}, "expected hidden_act to be of type str"),
        ({"num_attention_heads": 5}, "net: heads must divide width=64, got 5"),
        ({"num_attention_heads": 0}, "net: heads must be at least 1"),
        ({"num_hidden_layers": 10**9}, "net: depth must be at least 1 and at most"),
        ({"num_hidden_layers": 2}, "has tensors that this model has no place for"),
        ({"num_hidden_layers": 4}, r"has no tensor 'encoder\.layers\.3\."),
        ({"layer_norm_eps": 0}, "net: epsilon must be in"),
        ({"layer_norm_eps": float("nan")}, "net: epsilon must be in"),
        ({"max_position_embeddings": 76}, r"'embeddings\.position_embedding\.weight' of shape"),
        ({"vocab_size": 1513}, r"'embeddings\.token_embedding\.weight' of shape"),
        ({"hidden_size": "64"}, "expected hidden_size to be of type int"),
        ({"intermediate_size": 128}, r"'encoder\.layers\.0\.mlp\.fc1\."),
    ],
)
def test_a_config_that_does_not_fit_is_refused(setting, message) -> None:
    file = with_vocabulary(case_of("clip_text_64").file)
    with pytest.raises(UserError, match=f"^text_encoder: .*{message}"):
        read_text_encoder(replace(file, config={**file.config, **setting}), TOKENIZER)


def test_tensors_that_do_not_fit_are_refused_by_name() -> None:
    file = with_vocabulary(case_of("clip_text_64").file)
    tensors = {name: tensor.read() for name, tensor in file.tensors.items()}
    name = "encoder.layers.1.self_attn.q_proj.weight"
    for changed, message in (
        ({key: value for key, value in tensors.items() if key != name}, f"has no tensor '{name}'"),
        ({**tensors, name: tensors[name][:3]}, f"'{name}' of shape"),
        ({**tensors, "text_projection.weight": tensors[name]}, "no place for, 'text_projection.weight'"),
    ):
        with pytest.raises(UserError, match=f"^text_encoder: .*{message}"):
            read_text_encoder(weight_file(changed, "text_encoder", file.kind, dict(file.config)), TOKENIZER)


def test_a_tokenizer_of_more_tokens_than_the_encoder_is_refused() -> None:
    with pytest.raises(UserError, match=r"tokenizer: has 1,514 tokens, and the text encoder 200"):
        read_text_encoder(case_of("clip_text_64").file, TOKENIZER)


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="activation must be one of quick_gelu, gelu, got 'silu'"):
        CLIPText(activation="silu")
    with pytest.raises(UserError, match="expected at most 77 tokens, got 78"):
        jax.eval_shape(SMALL.init, jax.random.key(0), jnp.zeros((1, 78), jnp.int32))
