"""Training losses: makers `(noise, order, …) -> (keys, apply, x0, cond) -> [b]`."""

from diffjax.loss.condition_dropout import drop_cond as drop_cond
from diffjax.loss.simple import Apply as Apply
from diffjax.loss.simple import Loss as Loss
from diffjax.loss.simple import bound, causal, regression

__all__ = ["bound", "causal", "regression"]
