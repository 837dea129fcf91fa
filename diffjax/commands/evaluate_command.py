"""Score a trained model: python evaluate.py --workdir runs/digits

Draws equally many samples of each class, and prints their scores beside those of real held-out images, with intervals,
and the bits per dimension of train and test. report.html in --out is one file with all tables and pictures, report.json
has the numbers. On Ctrl-C the report is written of what is done; --quick and --without bits,steps leave parts out. Or
score images from files, of any model; or compare runs that have been scored (see docs/evaluation.md):

    python evaluate.py --samples out/samples.npz --reference pictures/
    python evaluate.py --compare runs/a runs/b

Or sample with many settings of the sampler, and compare cost and scores:

    python evaluate.py --workdir runs/digits --sweep sampler=ddim,heun --sweep steps=5,10,20
"""

from absl import flags

from diffjax.commands.command_line import run_command, start
from diffjax.commands.evaluation_parts import METHODS, PARTS
from diffjax.commands.flags import define_sampling_flags


def run() -> None:
    """Parse the flags and evaluate; the process ends with an exit code."""
    define_flags()
    run_command(main, __doc__ or "", trailing="compare")


def define_flags() -> None:
    """The flags of this command."""
    define_sampling_flags()
    help_line = "Images that samples of --model are compared with, such as folder:PATH or a TFDS name; no default."
    flags.DEFINE_string("data", None, help_line)
    flags.DEFINE_string("out", None, "Folder for the report; by default WORKDIR/evaluation.")
    flags.DEFINE_integer("num", 1_440, "Number of samples, equally many of each class.", lower_bound=3)
    flags.DEFINE_integer("most", 5_000, "Maximum number of real images of each split.", lower_bound=3)
    flags.DEFINE_string("split", "test", "Split of the real images that samples and bits are compared with.")
    methods = ["fitting", *METHODS, "none"]
    flags.DEFINE_enum("likelihood", "fitting", methods, "Method for bits per dimension; fitting is the best there is.")
    flags.DEFINE_integer("likelihood_steps", None, "Number of steps of --likelihood=ode; by default 32.", lower_bound=1)
    help_line = "Number of images of each split for bits and errors by noise level; by default 16 to 360, by size."
    flags.DEFINE_integer("bits_of", None, help_line, lower_bound=2)
    flags.DEFINE_list("without", [], f"Parts to leave out, of {', '.join(PARTS)}; by default none.")
    flags.DEFINE_boolean("quick", False, "Draw and score samples, and leave out all other parts.")
    flags.DEFINE_boolean("classifier", False, "Score also in features of a classifier trained on the data.")
    flags.DEFINE_string("inception", None, "Weights file of Inception-v3, to score in its features; by default none.")
    flags.DEFINE_string("resize", "tensorflow_1", "Scaling of images for Inception, tensorflow_1 or antialiased.")
    help_line = "Files of features to score in too, see docs/evaluation.md; by default none."
    flags.DEFINE_multi_string("embeddings", [], help_line)
    flags.DEFINE_multi_string("compare", [], "Two or more runs whose reports are compared, RUN RUN …; by default none.")
    flags.DEFINE_multi_string(
        "sweep",
        [],
        "Settings to vary, of sampler, grid, steps and guidance, by name or as name=value,value,…; by default none.",
    )
    flags.DEFINE_string("samples", None, "Images to score in place of a run, an npz file or a folder; by default none.")
    help_line = "Images or moments that --samples are compared with, an npz file or a folder; no default."
    flags.DEFINE_string("reference", None, help_line)
    flags.DEFINE_string("moments", "~/.cache/diffjax/references", "Folder that keeps moments of references, or ''.")


def main() -> None:
    """Evaluate, once the flags are known to be right."""
    start("evaluate_run")
