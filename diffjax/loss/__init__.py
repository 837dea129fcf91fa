"""Training losses: makers `(noise, order, …) -> (keys, apply, x0, cond) -> [b]`."""

from diffjax.loss.autoencoding import reconstruction
from diffjax.loss.autoregressive import causal
from diffjax.loss.condition_dropout import drop_cond as drop_cond
from diffjax.loss.learned_variance import hybrid
from diffjax.loss.protocol import Apply as Apply
from diffjax.loss.protocol import Loss as Loss
from diffjax.loss.simple import regression
from diffjax.loss.variational import bound

__all__ = ["bound", "causal", "hybrid", "reconstruction", "regression"]
