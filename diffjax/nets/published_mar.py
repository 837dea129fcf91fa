"""MAR with the parameters of its published weights, under their names (Li et al. 2024); `nets.MAR` is to train anew."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffjax.errors import UserError
from diffjax.nets.adaln_zero import XAVIER, ZEROS, modulate
from diffjax.nets.attention import Tokens, check_heads
from diffjax.nets.condition_embedding import check_encoders
from diffjax.nets.dot_product import attend
from diffjax.nets.layers import check_fields, dense_dot_general
from diffjax.nets.sinusoids import published_sinusoids
from diffjax.protocols import Keys
from diffjax.traits import NetTraits

KNOWN = -1.0  # the level of a known token, of `net_inputs.steps_from_data`
EPSILON = 1e-6  # of every LayerNorm
FREQUENCIES = 256  # sinusoids of a level
SMALL = nn.initializers.normal(0.02)

Latents = Float[Array, "b h w _"]
Level = Float[Array, "_ _ _ 1"]
Context = Float[Array, "b n width"]


class PublishedMAR(nn.Module):
    """eps of every token i and the range of its variance, given x_t,i, its level and all tokens of level -1.

    Those are known. A masked autoencoder (section 3.4) makes of them the context z of every token: an encoder sees the
    known tokens and `buffer` copies of the class's vector, a decoder its outputs with one learned vector in place of
    each unknown token. The head, an MLP modulated by z and the level, 0 … 999, sees the noisy token alone.

    `net(x, level, cond, keys)` is both, for x [b, size, size, c], and returns 2c channels; `context` and `head` are
    each. The null class is `classes`. There is no dropout.
    """

    size: int = 16
    width: int = 768
    encoder_depth: int = 12
    decoder_depth: int = 12
    heads: int = 12
    head_width: int = 1024
    head_depth: int = 6
    buffer: int = 64
    classes: int = 1000

    def __post_init__(self) -> None:
        sizes = {"size": self.size, "width": self.width, "heads": self.heads, "buffer": self.buffer}
        sizes |= {"head_width": self.head_width, "head_depth": self.head_depth, "classes": self.classes}
        check_fields("float32", 0.0, **sizes)
        for depth in (self.encoder_depth, self.decoder_depth):
            check_fields("float32", 0.0, depth=depth)
        check_heads(self.width, self.heads)
        check_encoders((), self.classes)
        super().__post_init__()

    @property
    def traits(self) -> NetTraits:
        """With a backbone and a head, and a learned variance."""
        return NetTraits(has_head=True, learned_variance=True)

    @property
    def null_cond(self) -> Int[Array, ""]:
        """The null class."""
        return jnp.asarray(self.classes, jnp.int32)

    def setup(self) -> None:
        self.small = Head(self.head_width, self.head_depth, name="diffloss.net")

    def __call__(
        self, x: Latents, level: Level, cond: Int[Array, " b"] | None = None, keys: Keys | None = None
    ) -> Latents:
        return self.head(x, level, self.context(x, level, cond, keys))

    @nn.compact
    def context(
        self, x: Latents, level: Level, cond: Int[Array, " b"] | None = None, keys: Keys | None = None
    ) -> Context:
        """The context of each token, from those of level -1."""
        tokens = self._tokens(x)
        b, n, _ = tokens.shape
        known = self._levels(x, level) == KNOWN
        label = jnp.broadcast_to(self.null_cond, b) if cond is None else cond
        buffer = jnp.broadcast_to(self._class_vector(label)[:, None], (b, self.buffer, self.width))
        embedded = _dense(self.width, "z_proj")(jnp.where(known[..., None], tokens, 0))
        h = jnp.concatenate([buffer, embedded], axis=1)
        h = _norm("z_proj_ln")(h + self.param("encoder_pos_embed_learned", SMALL, (1, *h.shape[1:])))
        # Tokens that nobody attends to change nothing: their own outputs are replaced below.
        visible = jnp.concatenate([jnp.ones((b, self.buffer), bool), known], axis=1)
        for i in range(self.encoder_depth):
            h = Block(self.heads, name=f"encoder_blocks.{i}")(h, visible)
        h = _dense(self.width, "decoder_embed")(_norm("encoder_norm")(h))
        h = jnp.where(visible[..., None], h, self.param("mask_token", SMALL, (1, 1, self.width)))
        h += self.param("decoder_pos_embed_learned", SMALL, (1, *h.shape[1:]))
        for i in range(self.decoder_depth):
            h = Block(self.heads, name=f"decoder_blocks.{i}")(h)
        z = _norm("decoder_norm")(h)[:, self.buffer :]
        return z + self.param("diffusion_pos_embed_learned", SMALL, (1, n, self.width))

    def head(self, x: Latents, level: Level, z: Context, places: Int[Array, "b k"] | None = None) -> Latents:
        """The output given the context; with `places` that of these tokens alone, and 0 elsewhere."""
        tokens, levels = self._tokens(x), self._levels(x, level)
        if places is None:
            out = self.small(tokens, levels, z)
        else:
            at = jnp.arange(len(x))[:, None], places
            shape = (*tokens.shape[:2], 2 * tokens.shape[2])
            out = jnp.zeros(shape).at[at].set(self.small(tokens[at], levels[at], z[at]))
        return out.reshape(*x.shape[:-1], -1)

    def places(self, moving: Bool[Array, "b ... 1"], max_pixels: int) -> Int[Array, "b k"]:
        """The tokens that move, filled up with others to `max_pixels` of each example, the largest number that does."""
        return jnp.argsort(~moving.reshape(len(moving), -1), axis=1, stable=True)[:, :max_pixels]

    def _tokens(self, x: Latents) -> Float[Array, "b n c"]:
        """The tokens in raster order. Raises UserError where they are not those that have positions."""
        if x.shape[1:-1] != (self.size, self.size):
            problem = f"expected x of {self.size} by {self.size} tokens, each of which has a learned position"
            raise UserError(f"PublishedMAR: {problem}, got {x.shape}")
        return x.reshape(len(x), -1, x.shape[-1])

    def _levels(self, x: Latents, level: Level) -> Float[Array, "b n"]:
        return jnp.broadcast_to(level, (*x.shape[:-1], 1)).reshape(len(x), -1)

    def _class_vector(self, label: Int[Array, " b"]) -> Float[Array, "b width"]:
        table = nn.Embed(self.classes, self.width, embedding_init=SMALL, name="class_emb")
        null = self.param("fake_latent", SMALL, (1, self.width))
        return jnp.where((label < self.classes)[:, None], table(jnp.minimum(label, self.classes - 1)), null)


class Block(nn.Module):
    """h + attention(norm(h)), then h + MLP(norm(h)), as in vision transformers (Dosovitskiy et al. 2021, eq. 2, 3)."""

    heads: int

    @nn.compact
    def __call__(self, h: Tokens, visible: Bool[Array, "b n"] | None = None) -> Tokens:
        """All tokens attend to the `visible` ones."""
        b, n, width = h.shape
        qkv = _dense(3 * width, "attn.qkv")(_norm("norm1")(h))
        query, key, value = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, width // self.heads), 2, 0)
        mixed = attend(query, key, value, None if visible is None else visible[:, None, None])
        h += _dense(width, "attn.proj")(mixed.reshape(b, n, width))
        inner = nn.gelu(_dense(4 * width, "mlp.fc1")(_norm("norm2")(h)), approximate=False)
        return h + _dense(width, "mlp.fc2")(inner)


class Head(nn.Module):
    """eps and the range of the variance of each token by itself, modulated by its context and level (section 3.2)."""

    width: int
    depth: int

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b k c"], level: Float[Array, "b k"], z: Float[Array, "b k _"]
    ) -> Float[Array, "b k _"]:
        waves = published_sinusoids(level, FREQUENCIES)
        embedding = _dense(self.width, "time_embed.mlp.2")(nn.silu(_dense(self.width, "time_embed.mlp.0")(waves)))
        embedding = nn.silu(embedding + _dense(self.width, "cond_embed")(z))
        h = _dense(self.width, "input_proj")(tokens)
        for i in range(self.depth):
            h = ResidualBlock(name=f"res_blocks.{i}")(h, embedding)
        shift, scale = _modulation(2, self.width, "final_layer.adaLN_modulation.1", embedding)
        out = _dense(2 * tokens.shape[-1], "final_layer.linear", ZEROS)
        return out(modulate(h, shift, scale))


class ResidualBlock(nn.Module):
    """h + gate MLP(norm(h) (1 + scale) + shift), all three linear in the embedding and 0 at the start."""

    @nn.compact
    def __call__(self, h: Float[Array, "b k width"], embedding: Float[Array, "b k width"]) -> Float[Array, "b k width"]:
        width = h.shape[-1]
        shift, scale, gate = _modulation(3, width, "adaLN_modulation.1", embedding)
        inner = _norm("in_ln")(h) * (1 + scale) + shift
        inner = _dense(width, "mlp.2")(nn.silu(_dense(width, "mlp.0")(inner)))
        return h + gate * inner


def _modulation(count: int, width: int, name: str, embedding: Float[Array, "b k e"]) -> list[Array]:
    return jnp.split(_dense(count * width, name, ZEROS)(embedding), count, axis=-1)


def _dense(features: int, name: str, init: nn.initializers.Initializer = XAVIER) -> nn.Dense:
    return nn.Dense(features, kernel_init=init, dot_general=dense_dot_general, name=name)


def _norm(name: str) -> nn.LayerNorm:
    return nn.LayerNorm(EPSILON, use_fast_variance=False, name=name)
