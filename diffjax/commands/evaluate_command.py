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

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands import (
    assessment,
    bits_estimator,
    evaluation_subject,
    file_evaluation,
    file_pair,
    interruption,
    likelihood_report,
    settings_sweep,
    sweep_values,
)
from diffjax.commands.command_line import run_command
from diffjax.commands.flags import define_sampling_flags, folder_flag, refuse_flags, sampler_config, step_choice
from diffjax.errors import UserError, tell
from diffjax.parallel import dispatch
from diffjax.utils.files import check_writable

LIKELIHOOD_FLAGS = ("likelihood", "likelihood_steps", "bits_of", "without", "quick")
SAMPLING_FLAGS = ("guidance", "guidance_when", "guidance_rule", "guidance_form", "guidance_interval", "sampler", "grid")
RUN_FLAGS = ("workdir", *SAMPLING_FLAGS, "steps", "seed", "ema", "step", "num", "split", *LIKELIHOOD_FLAGS)
NOT_IN_SWEEPS = ("compare", "samples", "classifier", "inception", "embeddings", *LIKELIHOOD_FLAGS)


def run() -> None:
    """Parse the flags and evaluate; the process ends with an exit code."""
    define_flags()
    run_command(main, __doc__ or "", trailing="compare")


def define_flags() -> None:
    """The flags of this command."""
    define_sampling_flags()
    flags.DEFINE_string("out", None, "Folder for the report; by default WORKDIR/evaluation.")
    flags.DEFINE_integer("num", 1_440, "Number of samples, equally many of each class.", lower_bound=3)
    flags.DEFINE_integer("most", 5_000, "Maximum number of real images of each split.", lower_bound=3)
    flags.DEFINE_string("split", "test", "Split of the real images that samples and bits are compared with.")
    methods = ["fitting", *bits_estimator.METHODS, "none"]
    flags.DEFINE_enum("likelihood", "fitting", methods, "Method for bits per dimension; fitting is the best there is.")
    flags.DEFINE_integer("likelihood_steps", None, "Number of steps of --likelihood=ode; by default 32.", lower_bound=1)
    help_line = "Number of images of each split for bits and errors by noise level; by default 16 to 360, by size."
    flags.DEFINE_integer("bits_of", None, help_line, lower_bound=2)
    flags.DEFINE_list("without", [], f"Parts to leave out, of {', '.join(assessment.PARTS)}; by default none.")
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
    flags.DEFINE_string("cache", "~/.cache/diffjax/references", "Folder for moments of references, or '' for no cache.")


def main() -> None:
    """The task that the flags select."""
    values = flags.FLAGS
    if values["reference"].present and not values["samples"].present:
        raise UserError("--reference: belongs to --samples; add those, or leave it out")
    if values["compare"].present and values["samples"].present:
        raise UserError("--samples: scores files, and --compare compares reports; give one of them")
    if values["sweep"].present:
        sweep_settings()
    elif values["compare"].present:
        compare()
    elif values["samples"].present:
        score_files()
    else:
        evaluate()


def evaluate() -> None:
    """Score a run. Everything is checked before anything is written or compiled."""
    plan, names = plan_evaluation()
    results = assessment.Results()

    def publish_results() -> None:
        if results.images is not None:
            publish(plan.out, assessment.report_of(plan, results))

    with interruption.ended_in_time(publish_results):
        assessment.assess(plan, names, results)
    publish_results()


def plan_evaluation() -> tuple[assessment.Plan, list[str]]:
    """The plan that the flags describe, and the parts to do. Raises UserError where they do not serve the model."""
    values = flags.FLAGS
    without = [*values.without, *(["bits"] if values.likelihood == "none" else [])]
    names = assessment.select_parts(without, values.quick)
    workdir, out = run_folders()
    model = open_model(workdir)
    data = model.info.data
    uses_features = "features" in names and model.comparable
    plan = assessment.Plan(
        model,
        model.build_sampler(sampler_config(model.info)),
        comparison_features(model.splits, data.levels) if uses_features else [],
        select_bits_estimator(model) if "bits" in names else None,
        values.likelihood_steps,
        out,
        values.num,
        batch_size(data.shape),
        values.bits_of or likelihood_report.default_image_count(data.shape),
        values.seed,
    )
    return plan, names


def sweep_settings() -> None:
    """Score a run over varied settings; what an earlier call has measured is not drawn again."""
    values = flags.FLAGS
    lists = sweep_values.parse_lists(values.sweep)
    refuse_flags((*NOT_IN_SWEEPS, *lists), f"does not go with --sweep {','.join(lists)}")
    workdir, out = run_folders()
    model = open_model(workdir)
    if not model.comparable:
        raise UserError(f"--sweep: compares with real images; {model.reference}")
    plan = settings_sweep.SweepPlan(values.num, values.seed, batch_size(model.info.data.shape))
    sweep = settings_sweep.run_sweep(model, lists, sampler_config(model.info), out, plan)
    print(reports.sweep_table(sweep))
    tell(f"sweep written to {reports.write_sweep(out, sweep)}, a single file, with its plots beside it")


def score_files() -> None:
    """Score images from files. Everything is checked before anything is computed."""
    values = flags.FLAGS
    refuse_flags(RUN_FLAGS, "applies to runs, and --samples scores files")
    if not (values.samples and values.reference):
        raise UserError("--samples: name images, and the images to compare them with as --reference")
    out = Path(values.out) if values.out else file_pair.default_report_dir(values.samples)
    cache = Path(values.cache).expanduser() if values.cache else None
    check_writable(out, "--out")
    if cache is not None:
        check_writable(cache, "--cache")
    pair = file_pair.open_pair(values.samples, values.reference, values.most, out)
    if values.classifier and pair.real["train"][1] is None:
        raise UserError(f"--classifier: {values.reference} has no labels (arr_1) of two or more classes; leave it out")
    features = comparison_features(pair.real, file_evaluation.LEVELS, pair.sources)
    publish(out, file_evaluation.build_report(pair, features, out, cache, tell))


def compare() -> None:
    """Which differences between the reports of runs are significant."""
    values = flags.FLAGS
    if values.workdir:
        raise UserError("--compare: takes no --workdir; give the runs themselves after it")
    folders = [Path(name) for name in values.compare]
    compared = [reports.read_numbers(folder) for folder in folders]
    rows = reports.compare(compared)
    out = Path(values.out) if values.out else folders[0] / "evaluation"
    check_writable(out, "--out")
    print(reports.comparison_table(compared, rows))
    tell(f"comparison written to {reports.write_comparison(out, compared, rows)}, a single file")


def publish(out: Path, report: reports.Report) -> None:
    """Print the report, and write it."""
    print(reports.table(report))
    for alarm in report.findings.alarms if report.findings else ():
        print(f"warning: {alarm}")
    tell(f"report written to {reports.write_report(out, report)}, a single file, with its pictures beside it")


def run_folders() -> tuple[Path, Path]:
    """The run, and the folder of its report."""
    workdir = folder_flag("workdir")
    out = flags.FLAGS.out
    if workdir.is_file() and not out:
        raise UserError(f"--out: give a folder for the report on {workdir}")
    folder = Path(out) if out else workdir / "evaluation"
    check_writable(folder, "--out")
    return workdir, folder


def open_model(workdir: Path) -> evaluation_subject.EvaluationSubject:
    """The trained model and its real images, as the flags say."""
    values = flags.FLAGS
    return evaluation_subject.open_subject(
        workdir, values.ema, step_choice(), values.most, values.split, values.allow_imports
    )


def batch_size(shape: tuple[int, ...]) -> int:
    """--batch if it is set, else as many images as fit well into memory."""
    batch = flags.FLAGS.batch
    return batch if flags.FLAGS["batch"].present else dispatch.batch_for(shape, batch)


def select_bits_estimator(model: evaluation_subject.EvaluationSubject) -> bits_estimator.BitsEstimator:
    """The estimator of --likelihood. Raises UserError where it does not serve the model."""
    values = flags.FLAGS
    method = "" if values.likelihood == "fitting" else values.likelihood
    estimator = bits_estimator.build_estimator(
        model.denoise, model.noise, model.order, model.info.net, model.info.data, method
    )
    likelihood_report.check_steps(estimator, values.likelihood_steps)
    return estimator


def comparison_features(splits: ev.Splits, levels: int, sources: Sequence[ev.ImageSource] = ()) -> list[ev.Features]:
    """The features in which samples and real images are compared."""
    values = flags.FLAGS
    images, labels = splits["train"]
    train = ev.as_bytes(images, levels)
    features = [ev.pixel_features(train.shape[1:])]
    if values.classifier:
        if labels is None:
            raise UserError("--classifier: the data set has no classes; leave it out")
        features += [ev.classifier_features(train, labels)]
    if values.embeddings:
        features += [ev.precomputed_features(*values.embeddings, sources=sources)]
    if values.inception:
        from diffjax.evaluation.inception_weights import inception_features  # needs Flax, and a second

        features += [inception_features(values.inception, values.resize)]
    return features
