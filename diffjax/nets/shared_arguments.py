"""Descriptions of the arguments that nets, or encoders, share, as strings below the fields.

A net with another meaning of a name describes it below its own field. `make reference` reads both.
"""

from jax.typing import DTypeLike

from diffjax.nets.condition_encoders import Encoders


class NetArguments:
    """Arguments that nets share."""

    patch: int
    """Side of the squares that images are cut into, one token each. Unit: pixels. Range: [1, 65536]; sides that it does
    not divide are padded. When: larger for larger images: attention costs the square of the number of patches."""
    width: int
    """Features of each block. Unit: features. Range: [1, 65536]; a multiple of `heads`, where there are any.
    When: raise it where training and validation loss both stay high."""
    depth: int
    """Number of blocks. Unit: blocks. Range: [1, 512]. When: raise it with `width`."""
    heads: int
    """Heads of an attention layer. Unit: heads. Range: [1, 1024]; a divisor of the features that attend.
    When: raise it with `width`."""
    classes: int
    """Number of classes that the net is told; 0: none. A config sets it from the data. Unit: classes.
    Range: [0, 1048576]. When: in Python, for conditional nets."""
    conditions: Encoders
    """Encoders of further parts of a condition. A config sets it from `model.conditions`.
    Range: of `diffjax.nets.condition_encoders`, each of another part. When: the net is told more than a class."""
    dropout: float
    """Share of features set to 0 in training. Range: [0, 1). When: raise it where the net overfits."""
    perturbed: tuple[int, ...]
    """Blocks, from 0, in which each token attends to itself alone: a weaker net, for guidance.
    Range: each in [0, depth). When: set by `guidance_form=perturbed_attention(…)`; not needed in training."""
    remat: bool | str
    """Whether blocks are computed again in the backward pass, in place of being stored. Range: False, True, or
    `'products'`, which stores the outputs of dense layers.
    When: training does not fit into the memory of a GPU or TPU; it costs time. Without effect on a CPU."""
    attention_kernel: str
    """What computes attention on a CUDA device. Range: `'xla'`, or `'cudnn'`, flash attention, which stores no scores;
    it serves blocks of heads of up to 128 features in bfloat16, without other masks than the causal one, and elsewhere
    XLA does. When: `'cudnn'` with `dtype='bfloat16'`, where an image has 256 patches or more. Not measured."""
    dtype: DTypeLike
    """Type of the computation; parameters and output stay float32. Range: `'float32'`, `'bfloat16'`.
    When: bfloat16 on GPUs and TPUs, for speed and memory."""


class EncoderArguments:
    """Arguments that encoders of `model.conditions` share."""

    part: str
    """Part of `data.parts` that is encoded. Range: the name of a part. When: it has another name than the default."""
    drop: float
    """Probability that training leaves this part out, beside `train.cond_drop`. Range: [0, 1].
    When: samples without this part are wanted, or guidance by it alone."""
    shape: tuple[int, ...]
    """Shape of one value, set from the data. Range: follows from the data. When: only in Python."""
    vocab: int
    """Number of values an integer may have, set from the data. Unit: values. Range: follows from the data.
    When: only in Python."""
