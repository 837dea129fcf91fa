"""Score a trained model: python evaluate.py --workdir runs/digits

Draws as many pictures of each class, prints measures beside what real held-out images get, with intervals, and the bits
per dimension of train and test, and writes report.html, one file with all tables and pictures, into --out, and the
numbers as report.json. Progress is on stderr; on Ctrl-C the report is written of what is done. `--quick` and
`--without bits,steps` leave parts out. Or score images from files, of any model, by images from files; or lay runs that
have been scored side by side (see docs/evaluation.md):

    python evaluate.py --samples out/samples.npz --reference pictures/
    python evaluate.py --compare runs/a runs/b

Or draw with many settings of the sampler, and see what each costs and gets:

    python evaluate.py --workdir runs/digits --sweep sampler=ddim,heun --sweep steps=5,10,20
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from absl import flags

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands import (
    assessment,
    command_line,
    evaluation_subject,
    file_evaluation,
    file_pair,
    interruption,
    likelihood_report,
    settings_sweep,
)
from diffjax.errors import UserError
from diffjax.parallel import dispatch
from diffjax.utils.files import check_writable

command_line.define_sampling_flags()
flags.adopt_module_key_flags(command_line)  # so that --help lists them
OUT = flags.DEFINE_string("out", None, "Folder for the report; by default WORKDIR/evaluation.")
NUM = flags.DEFINE_integer("num", 1_440, "How many pictures, as many of each class.", lower_bound=3)
MOST = flags.DEFINE_integer("most", 5_000, "How many real images of each split to compare with.", lower_bound=3)
SPLIT = flags.DEFINE_string("split", "test", "Split of the real images that samples and bits are compared with.")
LIKELIHOOD = flags.DEFINE_enum(
    "likelihood",
    "fitting",
    ["fitting", *likelihood_report.METHODS, "none"],
    "How bits per dimension are measured, or none.",
)
LIKELIHOOD_STEPS = flags.DEFINE_integer("likelihood_steps", None, "Of the ODE; 32 by default.", lower_bound=1)
BITS_OF = flags.DEFINE_integer(
    "bits_of",
    None,
    "Images of each split that bits and errors by noise level are of; 16 to 360 by size.",
    lower_bound=2,
)
WITHOUT = flags.DEFINE_list("without", [], f"Parts to leave out, of {', '.join(assessment.PARTS)}.")
QUICK = flags.DEFINE_boolean("quick", False, "Only samples and their scores.")
CLASSIFIER = flags.DEFINE_boolean("classifier", False, "Also compare in what a classifier of the classes says.")
INCEPTION = flags.DEFINE_string("inception", None, "Also in those of Inception-v3, of this file of FID's weights.")
RESIZE = flags.DEFINE_string("resize", "tensorflow_1", "How images come to its size: tensorflow_1 or antialiased.")
EMBEDDINGS = flags.DEFINE_multi_string("embeddings", [], "Also in features of these files; see docs/evaluation.md.")

COMPARE = flags.DEFINE_multi_string("compare", [], "Lay the reports of two or more runs side by side: RUN RUN …")
SWEEP = flags.DEFINE_multi_string(
    "sweep", [], "Vary settings of the sampler: names, or name=value,value,…, of sampler, grid, steps and guidance."
)
OF_ONE_RUN = ("likelihood", "likelihood_steps", "bits_of", "without", "quick")
RUN_ONLY_FLAGS = ("compare", "samples", "classifier", "inception", "embeddings", *OF_ONE_RUN)
SAMPLES = flags.DEFINE_string("samples", None, "Score these images in place of a run: an npz file or a folder.")
REFERENCE = flags.DEFINE_string("reference", None, "By these: an npz file, of images or of moments, or a folder.")
CACHE = flags.DEFINE_string(
    "cache", "~/.cache/diffjax/references", "Where moments of references are kept; '': nowhere."
)
OF_RUNS = (
    *("workdir", "guidance", "guidance_when", "guidance_rule", "guidance_form", "guidance_interval", "sampler", "grid"),
    *("steps", "seed", "ema", "step", "num", "split", *OF_ONE_RUN),
)


def main() -> None:
    """One of the jobs, by the flags that are given."""
    if REFERENCE.present and not SAMPLES.present:
        raise UserError("--reference: is for --samples; name those too, or leave it out")
    if COMPARE.present and SAMPLES.present:
        raise UserError("--samples: scores files, and --compare lays reports side by side; give one of them")
    if SWEEP.present:
        sweep_settings()
    elif COMPARE.present:
        compare()
    elif SAMPLES.present:
        score_files()
    else:
        evaluate()


def evaluate() -> None:
    """Score a run. Everything that can be known is checked before anything is written or compiled."""
    names = assessment.select_parts([*WITHOUT.value, *(["bits"] if LIKELIHOOD.value == "none" else [])], QUICK.value)
    (workdir, out), flag_values = run_folders(), flags.FLAGS
    model = evaluation_subject.open_subject(
        workdir, flag_values.ema, command_line.step_choice(), MOST.value, SPLIT.value, flag_values.allow_imports
    )
    settings, shape = command_line.sampler_settings(asdict(model.info.config.sample)), model.info.facts.shape
    plan = assessment.Plan(
        model,
        model.build_sampler(settings),
        settings,
        comparison_features(model.splits, model.info.facts.levels) if "features" in names and model.comparable else [],
        reader_of(model) if "bits" in names else None,
        LIKELIHOOD_STEPS.value,
        out,
        NUM.value,
        batch_of(shape),
        BITS_OF.value or likelihood_report.images_for(shape),
        flag_values.seed,
    )
    results = assessment.Results()

    def report_what_there_is() -> None:
        if results.images is not None:
            publish(out, assessment.report_of(plan, results))

    with interruption.ended_in_time(report_what_there_is):
        assessment.assess(plan, names, results)
    publish(out, assessment.report_of(plan, results))


def batch_of(shape: tuple[int, ...]) -> int:
    """--batch as it is given, or as many images as go well into memory."""
    batch = flags.FLAGS.batch
    return batch if flags.FLAGS["batch"].present else dispatch.batch_for(shape, batch)


def publish(out: Path, report: reports.Report) -> None:
    """The report, on the terminal and as files."""
    print(reports.table(report))
    for alarm in report.findings.alarms if report.findings else ():
        print(f"look here: {alarm}")
    told_of = reports.write_report(out, report)
    print(f"the report is {told_of}, one file; its pictures are beside it too", file=sys.stderr)


def run_folders() -> tuple[Path, Path]:
    """The run, and where its report goes."""
    workdir = command_line.folder_flag("workdir")
    if workdir.is_file() and not OUT.value:
        raise UserError(f"--out: give a folder for the report on {workdir}")
    out = Path(OUT.value) if OUT.value else workdir / "evaluation"
    check_writable(out, "--out")
    return workdir, out


def sweep_settings() -> None:
    """Quality over the settings that are varied; what an earlier call has drawn is not drawn again."""
    flag_values, lists = flags.FLAGS, settings_sweep.parse_lists(SWEEP.value)
    for name in (*RUN_ONLY_FLAGS, *lists):
        if flag_values[name].present:
            raise UserError(f"--{name}: does not go with --sweep {','.join(lists)}; leave one of them out")
    workdir, out = run_folders()
    model = evaluation_subject.open_subject(
        workdir, flag_values.ema, command_line.step_choice(), MOST.value, SPLIT.value, flag_values.allow_imports
    )
    if not model.comparable:
        raise UserError(f"--sweep: compares with real images; {model.reference}")
    fixed_settings = command_line.sampler_settings(asdict(model.info.config.sample))
    keys = {"seed": flag_values.seed, "batch": batch_of(model.info.facts.shape)}
    sweep = settings_sweep.run_sweep(model, lists, fixed_settings, out, count=NUM.value, **keys)
    print(reports.sweep_table(sweep))
    print(f"the sweep is {reports.write_sweep(out, sweep)}, one file; its plots are beside it too", file=sys.stderr)


def score_files() -> None:
    """Score images from files by images from files. Everything is checked before anything is computed."""
    for name in OF_RUNS:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name}: is of runs, and --samples scores files; leave one of them out")
    if not (SAMPLES.value and REFERENCE.value):
        raise UserError("--samples: name images, and what they are judged by as --reference")
    out = Path(OUT.value) if OUT.value else file_pair.default_report_dir(SAMPLES.value)
    cache = Path(CACHE.value).expanduser() if CACHE.value else None
    check_writable(out, "--out")
    if cache is not None:
        check_writable(cache, "--cache")
    sides = file_pair.open_pair(SAMPLES.value, REFERENCE.value, MOST.value, out)
    if CLASSIFIER.value and sides.real["train"][1] is None:
        raise UserError(f"--classifier: {REFERENCE.value} has no labels (arr_1) of two classes or more; leave it out")
    features = comparison_features(sides.real, file_evaluation.LEVELS, sides.sources)
    publish(out, file_evaluation.build_report(sides, features, out, cache, partial(print, file=sys.stderr)))


def compare() -> None:
    """Which differences between the reports of runs are beyond noise."""
    if flags.FLAGS.workdir:
        raise UserError("--compare: takes no --workdir; give the runs themselves after it")
    folders = [Path(name) for name in COMPARE.value]
    compared = [reports.read_numbers(folder) for folder in folders]
    rows = reports.compare(compared)
    out = Path(OUT.value) if OUT.value else folders[0] / "evaluation"
    check_writable(out, "--out")
    print(reports.comparison_table(compared, rows))
    print(f"the comparison is {reports.write_comparison(out, compared, rows)}, one file", file=sys.stderr)


def reader_of(model: evaluation_subject.EvaluationSubject) -> likelihood_report.BitsEstimator:
    """What measures bits per dimension, as asked for. Raises UserError where it cannot."""
    method = "" if LIKELIHOOD.value == "fitting" else LIKELIHOOD.value
    reader = likelihood_report.build_estimator(
        model.denoise, model.noise, model.order, model.info.net, model.info.facts, method
    )
    likelihood_report.check_steps(reader, LIKELIHOOD_STEPS.value)
    return reader


def comparison_features(splits: ev.Splits, levels: int, sources: Sequence[ev.ImageSource] = ()) -> list[ev.Features]:
    """The features that are asked for, in which samples and real images are compared."""
    images, labels = splits["train"]
    train = ev.as_bytes(images, levels)
    feature_sets = [ev.pixel_features(train.shape[1:])]
    if CLASSIFIER.value:
        if labels is None:
            raise UserError("--classifier: the data set has no classes; leave it out")
        feature_sets += [ev.classifier_features(train, labels)]
    if EMBEDDINGS.value:
        feature_sets += [ev.precomputed_features(*EMBEDDINGS.value, sources=sources)]
    if INCEPTION.value:
        from diffjax.evaluation.inception_weights import inception_features  # needs Flax, and a second

        feature_sets += [inception_features(INCEPTION.value, RESIZE.value)]
    return feature_sets


if __name__ == "__main__":
    command_line.run_script(main, more=COMPARE)
