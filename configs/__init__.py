"""What an experiment says. Each file beside this one has a `get_config()` that fills these fields.

Fields that name something (`net`, `schedule`, `sampler`, …) hold a name with its arguments in one string, as in
`karras(sigma_min=0.05)`, so that both are always replaced together.
"""

from dataclasses import dataclass, field


@dataclass
class Data:
    """`name` is a TFDS name, `folder:PATH` or `known16` (drawn from a law that is known); `dir` an own TFDS folder.

    `image_size` fits pictures of a folder.
    `form` is how the model sees a pixel: `unit` or `dequantised` (numbers, for Gaussian noise), or `tokens`; those of
    `known16` are `real` numbers already.
    `balance` shows every class equally often in training, whatever its share of the images
    (labels of samples that nobody asks for are still drawn by those shares).
    `augment` changes each picture at random before a net sees it, as `flip()`, `shift(pixels=2)` and `turn()` do.
    `parts` are what a picture can be asked for by beside its class: `sketch()`, `low_res(factor=2)`, `caption()`,
    `measured('slant')`, `feature('name')` of what the set stores.
    `leave_out` are combinations of a digit and its traits, as `bold three`, that training does not see.
    """

    name: str = "digits"
    dir: str = ""
    image_size: int = 0
    batch_size: int = 64
    form: str = "unit"
    balance: bool = False
    augment: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()


@dataclass
class Model:
    """A denoiser (`net`), a `noise` (Gaussian with its `schedule` and `prediction`, or Masking) and an `order`.

    `prediction` and `schedule` are empty with Masking. `UNet(dtype='bfloat16', remat=True)` computes in fewer digits,
    and its blocks twice, to save time and memory. `adapters`, as `lora(rank=4, alpha=8.0, on='*Attention*')`, are
    what is trained in place of the net's own weights, which stay as `train.init_from` has them.
    `data_std` is the standard deviation of the data as the net sees them, by which its inputs are scaled; None: a new
    run measures it on training images and records the number, and a run that goes on keeps its own. Tokens have none.
    `conditional` nets are told the class. `conditions` are encoders of further parts of a condition, of `data.parts`:
    `Text(width=64, depth=2)`, `Picture(part='sketch')`, `Number(part='weight')`, `Category()`, `Embedded()`; of each,
    `drop=0.2` is how often training leaves it out, beside `train.cond_drop`, when it leaves out all.
    """

    net: str = "UNet()"
    noise: str = "Gaussian"
    prediction: str = "v"
    schedule: str = "cosine"
    order: str = "together"
    data_std: float | None = None
    conditional: bool = True
    conditions: tuple[str, ...] = ()
    adapters: str = ""


@dataclass
class Train:
    """Optimisation, and what happens every so many steps. `weight` and `times` empty mean the loss's own.

    0 in an `…_every_steps` is never: no pictures, snapshots, checkpoints or log lines on the way. The last step, or the
    one at which a run is stopped, is always saved, and the last step is logged.

    A device takes its share of a batch in `accumulate` parts. `on_fault` is what happens where a number is not finite:
    `stop`, `skip(limit=10)` or `rewind(limit=10)`. The newest `keep_checkpoints` are kept, those whose step divides by
    `keep_every_steps` (0: none), and the one with the least `keep_best`, a metric such as `validation_loss` (empty:
    none), which is measured at each save on `validate_images` images (0: not). A step that takes longer than
    `hang_limit_s` seconds is told (0: never).
    `ema` are averages of the weights by decay, `ema_std` by their share of the training so far (EDM2), as 0.05 and 0.1;
    these are stored every `snapshot_every_steps` (0: never), and any other can be made of them when training is over.
    `cond_drop` is how often a whole condition is left out, `label_drop` how often the label of one with further parts.
    `init_from` is a run or a file that export.py wrote: the weights that fit are where a new run begins.
    `freeze` are patterns of the names of parameters that are not trained, as `Embedding_0/*`.
    `writers` are where metrics go: of `jsonl`, `tensorboard` and `wandb(project='…')`, each once.
    """

    steps: int = 5_000
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    loss: str = "regression"
    weight: str = ""
    times: str = ""
    cond_drop: float = 0.1
    label_drop: float = 0.0
    ema: tuple[float, ...] = (0.999,)
    ema_std: tuple[float, ...] = ()
    snapshot_every_steps: int = 0
    init_from: str = ""
    freeze: tuple[str, ...] = ()
    seed: int = 0
    accumulate: int = 1
    on_fault: str = "stop"
    hang_limit_s: float = 600.0
    validate_images: int = 512
    log_every_steps: int = 100
    save_every_steps: int = 1_000
    keep_checkpoints: int = 3
    keep_every_steps: int = 0
    keep_best: str = ""
    picture_every_steps: int = 1_000
    writers: tuple[str, ...] = ("jsonl", "tensorboard")


@dataclass
class Sample:
    """What `sample.py` and `evaluate.py` do unless told otherwise.

    Under an order of blocks, `grid` and `steps` are those of each block: `blocks(64)` with 20 steps takes 1,280.
    `guidance` is a scale, 1 none. `guidance_when` is when it is so (empty: always), as `interval(low=0.2, high=0.8)` or
    `plus_plus()`, `guidance_rule` how (empty: linearly), as `rescaled(phi=0.7)` or `apg()`, and `guidance_form` of
    what (empty: `cfg`): `several(scales={'text': 3.0})`, `perturbed_attention(blocks=(1,))`.
    """

    sampler: str = "dpmpp_2m"
    grid: str = "uniform"
    steps: int = 20
    guidance: float = 1.0
    guidance_when: str = ""
    guidance_rule: str = ""
    guidance_form: str = ""


@dataclass
class Config:
    """One experiment."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    sample: Sample = field(default_factory=Sample)
