"""What evaluate.py does with its flags: score a run or files, sweep settings, compare reports."""

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
from diffjax.commands.flags import refuse_flags
from diffjax.commands.model_flags import load_selected, model_path
from diffjax.commands.sampler_flags import sampler_config
from diffjax.errors import UserError, tell
from diffjax.experiment.data_spec import DataSpec
from diffjax.parallel import dispatch
from diffjax.utils.files import check_writable

LIKELIHOOD_FLAGS = ("likelihood", "likelihood_steps", "bits_of", "without", "quick")
SAMPLING_FLAGS = ("guidance", "guidance_when", "guidance_rule", "guidance_form", "guidance_interval", "sampler", "grid")
RUN_FLAGS = (
    *("workdir", "model", "data", "family", "codec", "ema", "step", "steps", "seed", "num", "split"),
    *(*SAMPLING_FLAGS, *LIKELIHOOD_FLAGS),
)
OF_IMAGES = ("classifier", "inception", "embeddings")
NOT_IN_SWEEPS = ("compare", "samples", "classifier", "inception", "embeddings", *LIKELIHOOD_FLAGS)


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
        if results.samples is not None:
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
    _check_comparisons(data)
    uses_features = "features" in names and model.comparable and data.of_images
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


def _check_comparisons(data: DataSpec, *more: str) -> None:
    """Raise UserError where a flag that compares images is set for a model of other arrays."""
    if not data.of_images:
        refuse_flags((*OF_IMAGES, *more), f"is for images, and this model draws arrays of shape {data.shape}")


def sweep_settings() -> None:
    """Score a run over varied settings; what an earlier call has measured is not drawn again."""
    values = flags.FLAGS
    lists = sweep_values.parse_lists(values.sweep)
    refuse_flags((*NOT_IN_SWEEPS, *lists), f"does not go with --sweep {','.join(lists)}")
    workdir, out = run_folders()
    model = open_model(workdir)
    _check_comparisons(model.info.data, "sweep")
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
    cache = Path(values.moments).expanduser() if values.moments else None
    check_writable(out, "--out")
    if cache is not None:
        check_writable(cache, "--moments")
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
    workdir = model_path()
    out = flags.FLAGS.out
    if (workdir.is_file() or flags.FLAGS["model"].present) and not out:
        raise UserError(f"--out: give a folder for the report on {workdir}")
    folder = Path(out) if out else workdir / "evaluation"
    check_writable(folder, "--out")
    return workdir, folder


def open_model(workdir: Path) -> evaluation_subject.EvaluationSubject:
    """The trained model and its real images, as the flags say."""
    values = flags.FLAGS
    if not values["model"].present:
        refuse_flags(("data",), "is for --model; a run says itself what it was trained on")
    model = load_selected()
    if model.info.origin is not None:
        model = evaluation_subject.with_data(model, values.data)
    return evaluation_subject.open_subject(workdir, model, values.most, values.split)


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
