"""What an experiment says: the dataclasses that each file of configs/ fills in its `get_config()`.

Fields that name something (`net`, `schedule`, `sampler`, …) hold a name with its arguments in one string, as in
`karras(sigma_min=0.05)`, so that both are always replaced together; `package.module:name(…)` is a part of your own.
The string below a field describes it, and `make reference` writes all of them, with those of the nets' arguments, into
docs/reference.md.
"""

from dataclasses import dataclass, field


@dataclass
class Data:
    """The data set, and what a model sees of it."""

    name: str = "digits"
    """Data set. Range: `digits`, a prepared TFDS name, `folder:PATH`, `array:FILE` (.npy, .npz), `shards:PATTERN` (tar
    files), `hf:PATH_OR_NAME` (Hugging Face); images `known16` and signals `ar_process` of known distributions.
    When: for your own images, `folder:PATH` with a subfolder for each class; docs/data.md has an example of each."""
    dir: str = ""
    """Folder of prepared TFDS sets. Range: a path; empty: TFDS's own. When: the sets lie elsewhere."""
    image_size: str = ""
    """Size to which images are brought. Unit: pixels. Range: `64`, a square; `64x96`, height first;
    `buckets(area=4096, step=8)`, several sizes of about that area, of which each image gets the one nearest to its
    proportions; empty: their own size. When: images of a folder differ in size, or are larger than the model should
    draw; buckets where they differ in proportions, and little of them is to be lost."""
    fit: str = ""
    """How images are brought to `image_size`. Range: `crop()`, the largest centred part; `pad('#ffffff')`, all of an
    image on a colour; `random_crop(max_shrink=1.0)`, another part in each step, of the image's own pixels, or of up to
    so many times as many each way; empty: `crop()`. When: `pad` where edges matter, `random_crop` for textures."""
    image: str = ""
    """What a source calls its images. Range: an array of an .npz, a column of `hf:`, an extension in `shards:`; empty:
    `image`, `images`, `x` or `arr_0` of an .npz, the only column of images, any extension of a picture.
    When: they go by another name."""
    label: str = ""
    """What a source calls its classes: integers from 0 on, or texts. Range: a column of `folder:` metadata or of `hf:`,
    an array of an .npz, a field of the .json in `shards:`; empty: subfolders, `label`, or `.cls`.
    When: the class is another column."""
    background: str = "#ffffff"
    """Colour on which transparent pictures of a folder are laid. Range: `#rrggbb` or a name, such as `black`.
    When: white lines on nothing are invisible on white."""
    unreadable: str = "refuse"
    """What to do about picture files of a folder that cannot be read. Range: `refuse`, or `skip(share=0.5)`, which
    leaves out up to that share of them and counts them. When: a few of very many are damaged; all are decoded once."""
    duplicates: str = "keep"
    """What to do about equal pictures of a folder. Range: `keep`, `once()`, which keeps one of equal and nearly equal
    pictures, or `once(near=False)`. When: `--check` counts many, above all across splits."""
    follow_links: bool = False
    """Whether links to picture files outside of the folder are followed. When: the folder is your own."""
    cache: str = "none"
    """Where decoded images of a folder or of shards are kept, so that each file is decoded once. Range: `none`, or
    `disk(max_gb=10.0)`, in `~/.cache/diffjax/decoded`, for sets of at most that size; `disk(folder='…')`, elsewhere.
    When: files are much larger than `image_size`, and training waits for them, or is often begun."""
    latents: str = ""
    """Latents of the pictures that the other fields name, made before. Range: a folder that `diffjax encode` wrote;
    empty: none, and the model sees pixels. When: pictures are larger than 64 pixels a side (docs/latents.md)."""
    workers: int = 0
    """Processes that decode the images of sets that are not kept on the device. Unit: processes. Range: [0, ∞); 0:
    threads of the training process. When: the accelerator waits for images: as many as there are cores to spare."""
    ahead_mb: int = 512
    """Memory for decoded batches that are read ahead, on each host. Unit: megabytes. Range: [1, ∞).
    When: lower it where memory is short, raise it where files are slow to come."""
    batch_size: int = 64
    """Examples per training step, on all devices of all hosts together. Unit: examples. Range: [0, ∞); a multiple
    of the number of devices; 0: chosen from the size of the pictures. When: larger for steadier gradients, smaller
    where memory is short."""
    form: str = "unit"
    """How the model sees a pixel. Range: `unit` or `dequantised` numbers for Gaussian noise, `tokens` for Masking;
    `real` for floats, `known16` and `ar_process`. When: `dequantised` for a density of pixels, `tokens` for masked or
    autoregressive models."""
    balance: bool = False
    """Whether training shows all classes equally often. When: some classes have far fewer images than others."""
    augment: tuple[str, ...] = ()
    """Random changes of training images. Range: names of `diffjax.data.augment`, such as `flip()`,
    `shift(pixels=2)`, `turn()`; `auto` alone: chosen from the number of pictures. When: there are few images, and
    the change leaves them plausible."""
    parts: tuple[str, ...] = ()
    """Parts of a condition beside the class. Range: `sketch()`, `low_res(factor=2, noise=0.5)`, `reference()`;
    of what the set stores beside image and class, `feature('text')`, a caption, a number or a picture, and
    `category('kind')`, one of few values. When: samples shall follow more than a class; see `model.conditions`."""


@dataclass
class Model:
    """The denoiser, the noise and the generation order."""

    net: str = "UNet()"
    """Network, with its arguments. Range: a name of `dj.nets`, see below; `auto`: chosen from the size and the
    number of the pictures. When: `UNet` or `DiT` for images, `Transformer` for tokens, `MAR` for continuous
    autoregression, `MLP` for vectors."""
    noise: str = "Gaussian"
    """Corruption process. Range: `Gaussian` or `Masking`. When: `Masking` with `data.form=tokens`."""
    prediction: str = "v"
    """Parameterization of the network's output. Range: a name of `dj.predict`; empty with Masking.
    When: `v` or `edm` are sound at all noise levels; `eps` and `velocity` to compare with published models."""
    schedule: str = "cosine"
    """Noise schedule. Range: a name of `dj.schedule`; empty with Masking; `auto`: shifted by the size of the pictures.
    When: `flow` for flow matching,
    `shift(flow, 3.0)` for large images, `edm` for EDM's noise levels."""
    inputs: str = ""
    """What the network receives for x_t and its noise level. Range: a name of `dj.net_inputs`; empty: `unit`.
    When: `discrete_steps()` or `flow_time` to go on from published weights; `sample.py --model FILE --check` says."""
    order: str = "together"
    """Generation order. Range: a name of `dj.order`. When: `raster` or `shuffled` for autoregression, `rolling(0.5)`
    and `blocks(16)` for what lies between it and diffusion."""
    data_std: float | None = None
    """Standard deviation of the data as the network sees them, by which its inputs are scaled.
    Unit: of `data.form`. Range: (0, ∞); within four times of the measured one; None: a new run measures it on training
    images and records it. When: to continue with data that differ a little."""
    conditional: bool = True
    """Whether the network receives the class. When: False for labelled data whose classes do not matter."""
    conditions: tuple[str, ...] = ()
    """Encoders of `data.parts`. Range: `Text(…)`, `Picture(…)`, `Number(…)`, `Category(…)`, `Embedded(…)`,
    `Style(…)`, see below. When: `data.parts` is not empty."""
    adapters: str = ""
    """Small changes that are trained in place of the network's own weights. Range: `lora(rank=4)`,
    `control(part='sketch')`; empty: none. When: fine-tuning from `train.init_from` with few images or little memory."""


@dataclass
class Train:
    """Optimization, checkpoints and logging."""

    steps: int = 5_000
    """Training steps in all. Unit: steps. Range: [0, ∞); 0: chosen from the number of pictures. When: raise it
    while the validation loss falls."""
    minutes: float = 0.0
    """Time after which training ends and is saved; a new run sets `steps`, over which the learning rate decays, to what
    fits into it. Unit: minutes. Range: [0, ∞); 0: no limit. When: the time is given, and not the number of steps."""
    optimizer: str = "adamw"
    """Optimizer, which takes those of the next four numbers that it has an argument for. Range: a name of
    `diffjax.training.optimizers`. When: AdamW does not serve: `my_package.optimizers:lion()` of your own."""
    learning_rate: float = 2e-3
    """Highest learning rate of AdamW, which then decays as a cosine to a hundredth. Range: [0, ∞); 0: chosen.
    When: lower it where the loss diverges, for larger networks and for fine-tuning."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises to its highest. Unit: steps. Range: [0, ∞).
    When: raise it where the loss diverges early."""
    weight_decay: float = 0.01
    """Weight decay of AdamW, of matrices alone. Range: [0, ∞). When: raise it where the network overfits."""
    clip_norm: float = 1.0
    """Norm to which larger gradients are scaled down. Range: (0, ∞). When: lower it where single batches disturb."""
    loss: str = "regression"
    """Training loss. Range: a name of `dj.loss`: `regression`, `bound`, `causal`. When: `bound` with Masking, `causal`
    with causal networks, `regression(given=0.8)` to fill in parts of images."""
    weight: str = ""
    """Weight of each noise level. Range: a name of `dj.weights`; empty: the loss's own.
    When: some noise levels are learnt badly: `min_snr(gamma=5.0)`."""
    times: str = ""
    """Distribution of noise levels in training. Range: a name of `dj.times`; empty: the loss's own.
    When: most of what is to be learnt lies at some levels: `logit_normal(mean=-0.4, std=1.1)`."""
    cond_drop: float = 0.1
    """Probability of leaving out the whole condition, for classifier-free guidance. Range: [0, 1].
    When: 0 where there will be no guidance."""
    label_drop: float = 0.0
    """Probability of leaving out the class alone, in a condition with further parts. Range: [0, 1].
    When: samples by other parts without a class are wanted."""
    ema: tuple[float, ...] = (0.999,)
    """Decays of averages of the weights; samples use the longest. Range: each in [0, 1).
    When: closer to 1 for longer runs, smaller for short ones."""
    ema_std: tuple[float, ...] = ()
    """Averages by their width as a share of the training (EDM2). Range: each in [0, 0.28]; 0 alone: chosen.
    When: (0.05, 0.1), to choose the average after training."""
    snapshot_every_steps: int = 0
    """Interval at which the averages of `ema_std` are stored. Unit: steps. Range: [0, ∞); 0: never.
    When: to make averages of any width afterwards; ten to a hundred in a run."""
    init_from: str = ""
    """Run, exported file or published weights that a new run begins with, as far as they fit. Range: a path, or an
    address `hf://owner/name`; empty: none. When: fine-tuning."""
    freeze: tuple[str, ...] = ()
    """Parameters that are not trained. Range: patterns of names, such as `Embedding_0/*`. When: fine-tuning a part."""
    seed: int = 0
    """Seed of the weights, of the order of the data and of all random numbers. Range: [0, 4294967295].
    When: to repeat a run independently."""
    accumulate: int = 1
    """Parts in which a device takes its share of a batch. Unit: parts. Range: [1, ∞); a divisor of that share.
    When: raise it where a step does not fit into memory."""
    on_fault: str = "stop"
    """What happens where a number is not finite. Range: `stop`, `skip(limit=10)`, `rewind(limit=10)`.
    When: long runs that nobody watches."""
    hang_limit_s: float = 600.0
    """Time after which a step that has not finished is reported. Unit: seconds. Range: [0, ∞); 0: never.
    When: raise it where compilation or a slow file system takes longer."""
    validate_images: int = 512
    """Validation images on which the loss is measured at each save. Unit: images. Range: [0, ∞); 0: none.
    When: raise it for a steadier `keep_best`, lower it where saving takes long."""
    log_every_steps: int = 100
    """Interval of logging, of means over it. Unit: steps. Range: [0, ∞); 0: never. When: smaller for short runs."""
    save_every_steps: int = 1_000
    """Interval of checkpoints; the last step is always saved. Unit: steps. Range: [0, ∞); 0: only at the end.
    When: by how much work may be lost if a machine fails."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints are kept. Unit: checkpoints. Range: [1, ∞). When: by the size of the disk."""
    keep_every_steps: int = 0
    """Checkpoints whose step divides by it are never deleted. Unit: steps. Range: [0, ∞); 0: none.
    When: to compare moments of a training."""
    keep_best: str = ""
    """Metric whose best checkpoint is kept too. Range: `validation_loss`, `loss`, `grad_norm`; empty: none.
    When: the network may overfit: `validation_loss`, then `sample.py --step best`."""
    picture_every_steps: int = 1_000
    """Interval at which samples are drawn into pictures/. Unit: steps. Range: [0, ∞); 0: never.
    When: raise it where drawing takes long."""
    writers: tuple[str, ...] = ("jsonl", "tensorboard")
    """Where metrics are written. Range: `jsonl`, `tensorboard`, `wandb(project='…')`, each once.
    When: by what you watch a run with."""


@dataclass
class Sample:
    """What `sample.py` and `evaluate.py` do by default, and the pictures of training."""

    sampler: str = "dpmpp_2m"
    """Step rule of the sampler. Range: a name of `dj.steps`. When: `heun()` or `ddim(eta=1.0)` to compare; `posterior`,
    `unmask`, `confidence` or `remask` for tokens."""
    grid: str = "uniform"
    """Where the sampler's steps lie. Range: a name of `dj.grids`; `auto`: chosen from the size of the pictures.
    When: few steps: `karras(sigma_min=0.05)`."""
    steps: int = 20
    """Steps of the sampler, of each block under an order of blocks. Unit: steps. Range: [1, ∞).
    When: raise it until samples stop getting better (`evaluate.py --sweep steps`)."""
    guidance: float = 1.0
    """Scale of guidance; 1 is none. Range: any finite number. When: above 1 for samples closer to their
    condition and less varied."""
    guidance_when: str = ""
    """Noise levels at which guidance acts. Range: `interval(low=0.2, high=0.8)`, `plus_plus()`; empty: all.
    When: strong guidance makes samples alike."""
    guidance_rule: str = ""
    """Rule that combines the predictions. Range: `rescaled(phi=0.7)`, `thresholded()`, `apg()`, `zero_star()`; empty:
    linear. When: strong guidance makes colours too strong."""
    guidance_form: str = ""
    """What guides. Range: `several(scales={'text': 3.0})`, `composed`, `perturbed_attention(blocks=(1,))`; empty:
    `cfg`. When: conditions have scales of their own, or the network is unconditional."""


@dataclass
class Config:
    """One experiment."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    sample: Sample = field(default_factory=Sample)
