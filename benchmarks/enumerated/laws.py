"""Laws of a few binary tokens: the data, what sampling from masks makes of them by enumeration, and distances."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import diffjax as dj

Table = Float[np.ndarray, "..."]  # the joint probabilities, (2,) * n
Law = Float[np.ndarray, " states"]  # the same as a row, the first token being the highest digit

MASKING = dj.Masking(vocab=2)
GAUSSIAN = dj.Gaussian(dj.schedule.cosine, dj.predict.v)


def chain(n: int, stay: tuple[float, float]) -> Table:
    """A stationary Markov chain: a token is followed by its like with the probability stay[token]."""
    moves = np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
    ones = (1 - stay[0]) / (2 - stay[0] - stay[1])
    x = states(n)
    return (np.array([1 - ones, ones])[x[:, 0]] * np.prod(moves[x[:, :-1], x[:, 1:]], axis=1)).reshape((2,) * n)


def states(n: int, digits: int = 2) -> np.ndarray:
    """All of them, as rows."""
    return np.array(list(itertools.product(range(digits), repeat=n)))


def marginals(table: Table) -> Float[np.ndarray, "n 2"]:
    """Of every token."""
    axes = range(table.ndim)
    return np.array([table.sum(axis=tuple(j for j in axes if j != i)) for i in axes])


def product(table: Table) -> Law:
    """The law of tokens that are as likely as in the joint, each for itself."""
    return np.prod(marginals(table)[np.arange(table.ndim), states(table.ndim)], axis=1)


def apart(q: Law, table: Table) -> float:
    """Total variation, ½ Σ |q - p|: the largest difference that the probability of any event can have."""
    return float(np.abs(q - table.ravel()).sum() / 2)


def counted(tokens: np.ndarray) -> Law:
    """The shares of the draws [b, n]."""
    n = tokens.shape[1]
    codes = tokens @ 2 ** np.arange(n)[::-1]
    return np.bincount(codes, minlength=2**n) / len(tokens)


def by_chance(table: Table, draws: int, sets: int = 400) -> float:
    """The total variation that so many exact draws have on average."""
    drawn = np.random.default_rng(0).multinomial(draws, table.ravel(), size=sets) / draws
    return float(np.mean([apart(q, table) for q in drawn]))


def uncertain(q: Law, table: Table, draws: int, sets: int = 200) -> float:
    """The standard error of that total variation: its deviation over sets drawn again from the draws."""
    drawn = np.random.default_rng(0).multinomial(draws, q / q.sum(), size=sets) / draws
    return float(np.std([apart(each, table) for each in drawn]))


def from_masks(n: int, denoise: dj.Denoise, order: dj.Order, grid: Array, cond: Array | None = None) -> Law:
    """The law of n tokens that `dj.sample` draws with the posterior of Masking and this denoiser.

    A law over the 3ⁿ states of visible tokens and masks is carried from stop to stop. Given such a state positions are
    lifted and drawn independently, so that a step's probabilities are products.
    """
    seen = states(n, 3)
    masked = seen == 2
    if cond is not None:
        cond = jnp.broadcast_to(cond, (len(seen), *cond.shape))
    with jax.enable_x64(True):
        p = np.asarray(jax.nn.softmax(denoise(jnp.asarray(seen), jnp.zeros((len(seen), 1)), cond), axis=-1))
    rank = order.rank(jax.random.key(0), (n,)) if order.width < 1 else jnp.zeros(n)
    levels = [dj.order.level(order, u, rank) for u in grid]  # as the sampler has them
    shares = [np.asarray(MASKING.unmask_probability(t, s), np.float64) for t, s in itertools.pairwise(levels)]
    law = masked.all(axis=1).astype(float)
    for share in shares:
        law = _any_as_many(law, p, masked, share) if order.exchangeable else _moved(law, p, masked, share)
    return law[~masked.any(axis=1)]


def _moved(law: Law, p: np.ndarray, masked: np.ndarray, share: np.ndarray) -> Law:
    """Each mask is lifted with its share."""
    shown = np.concatenate([p * share[None, :, None], np.broadcast_to(1 - share[None, :, None], (*p.shape[:2], 1))], 2)
    kernel = np.where(masked[..., None], shown, np.eye(3)[states(p.shape[1], 3)])
    able = law > 0
    moved = law[able, None]
    for i in range(p.shape[1]):
        moved = (moved[:, :, None] * kernel[able, None, i]).reshape(len(moved), -1)
    return moved.sum(axis=0)


def _any_as_many(law: Law, p: np.ndarray, masked: np.ndarray, share: np.ndarray) -> Law:
    """As many masks are lifted as have a share of 1, any of them."""
    n, count = len(share), round(share.sum())
    subsets = [np.isin(np.arange(n), subset) for subset in itertools.combinations(range(n), count)]
    serves = np.array([masked[:, subset].all(axis=1) for subset in subsets])
    ways = np.maximum(serves.sum(axis=0), 1)
    both = zip(subsets, serves, strict=True)
    return np.sum([_moved(law * able / ways, p, masked, subset.astype(float)) for subset, able in both], axis=0)
