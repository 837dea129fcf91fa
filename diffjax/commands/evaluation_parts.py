"""The names that the flags of evaluate.py offer."""

PARTS = (
    *("samples", "scores", "features", "codec", "findings", "pictures"),
    *("bits", "levels", "training", "steps", "truth"),
)
METHODS = ("exact", "bound", "ode")  # of the likelihood
