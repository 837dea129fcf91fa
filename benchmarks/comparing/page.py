"""compare.md, a function of its figures (compare_figures.json): the same results give the same page."""

import json
import textwrap
from pathlib import Path
from typing import Any

from comparing import verdicts
from comparing.figures import FILES
from diffjax.utils.files import write_atomically

Results = dict[str, Any]
PAGE, FIGURES = "compare.md", "compare_figures.json"

TEMPLATE = """# The comparison, trained

Everything between predicting one pixel at a time and all at once, on {data}: nets of the same width and depth, trained
on the same number of images. The exact version of these curves, where nothing is learned, is on
[another page](compare_exact.md).

    {command}

{provenance}

| family | parameters | bits, test | by | context: all hidden → one hidden | Fréchet ratio, best | evaluations |
|---|---|---|---|---|---|---|
{table}

{notes}

## Quality against network evaluations

![Fréchet ratio and two-sample test against network evaluations, a curve for each family](pictures/{evaluations})

{quality}

{points}

## Quality against operations

![The same against floating-point operations](pictures/{flops})

{operations}

## Under guidance

![Label accuracy and Fréchet ratio against the weight of guidance](pictures/{guided})

{guidance}

## Bits against operations of training

![Bits per dimension on test against floating-point operations of training](pictures/{bits})

{training}

## Causal against bidirectional

![A causal and a bidirectional net in raster order: bits against operations, and against steps](pictures/{causal})

{causality}

## How it is measured

* Quality: the Fréchet distance of pixels to the test images over that of as many training images, and the accuracy of
  an SVM that tells samples from test images (`diffjax.evaluation.measured`). {samples} pictures, evenly of all classes,
  without guidance unless it is said.
* Operations: `jax.jit(f).lower(…).compile().cost_analysis()["flops"]` of one training step, and of one step of the
  sampler as it is drawn (with the key-value cache where there is one), times the number of steps.
* Bits on the way are those of checkpoints of one training, whose learning rate has not yet fallen to its end there.
* Families of tokens keep the learning rate, dropout and weight decay of their experiments in configs/. Of diffusion
  0.003, 0 and 0.1 were the best of four settings on validation images (one seed); the others were not tuned for this
  number of steps.
"""


def page(results: Results) -> str:
    """The whole page."""
    compare = results["compare"]
    return TEMPLATE.format(
        data=compare["data"],
        command=_command(compare["name"]),
        provenance=_provenance(compare, results["finished"]),
        table="\n".join(_row(family) for family in results["families"].values()),
        notes=_notes(results),
        evaluations=FILES[0],
        flops=FILES[1],
        guided=FILES[2],
        bits=FILES[3],
        causal=FILES[4],
        quality=_list(verdicts.quality(results)),
        points=_points(results),
        operations=_list(verdicts.operations(results)),
        guidance=_list(verdicts.guidance(results)),
        training=_list(verdicts.training(results)),
        causality=_list(verdicts.causality(results)),
        samples=compare["samples"],
    )


def write(folder: Path, results: Results) -> None:
    """The page, and the figures that it is made of."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((FIGURES, json.dumps(results, indent=1) + "\n"), (PAGE, page(results))):
        write_atomically(folder / name, lambda file, text=text: file.write(text.encode()))


def _command(name: str) -> str:
    made = {"full": "make compare", "short": "make compare-short"}
    return made.get(
        name, f"python benchmarks/compare.py --config configs/compare/{name}.py --workdir runs/compare_{name}"
    )


def _provenance(compare: Results, finished: bool) -> str:
    told = (
        f"These numbers come from `configs/compare/{compare['name']}.py`: width {compare['width']}, depth "
        f"{compare['depth']}, {compare['steps']:,} steps of {compare['batch_size']} images, "
        f"{compare['samples']} pictures a draw; training seeds: {len(compare['train_seeds'])}, sampling seeds: "
        f"{len(compare['sample_seeds'])}."
    )
    short = " **This is the short form, which shows the way and settles nothing: nets are small and hardly trained.**"
    unfinished = " **It has not been finished: what is here is of the trainings that are measured so far.**"
    return _wrapped(told + short * (compare["name"] == "short") + unfinished * (not finished))


def _row(family: Results) -> str:
    last = family["bits"][-1]["bits"] if family["bits"] else None
    best = min(family["points"], key=lambda point: point["frechet_ratio"][0], default=None)
    context = family["context"]
    fall = f"{context['hidden']:.2f} → {context['known']:.2f}" if "fall" in context else "—"
    if "fall" in context:
        fall += f" ({verdicts.passes(context)})"
    return " | ".join(
        [
            f"| {family['title']}",
            f"{family['parameters']:,}",
            verdicts.pm(last, ".3f") if last else "—",
            family["method"] or "—",
            fall,
            verdicts.pm(best["frechet_ratio"]) if best else "—",
            f"{best['evaluations']} |" if best else "— |",
        ]
    )


def _notes(results: Results) -> str:
    """What the columns and the errors are."""
    compare, kinds = results["compare"], {family["context"]["of"] for family in results["families"].values()}
    told = [
        "Bits are of a pixel's level, per dimension: exact where one order serves all images, else the bound.",
        "Context: what a hidden pixel costs, in bits, with all hidden and with all others known; a net passes where it "
        f"falls by {verdicts.LEAST_FALL} or more. A net of raster order alone has no such test: its last pixels are "
        "empty.",
    ]
    if "numbers" in kinds:
        told.append(
            "Of rolling and block orders it is the squared error of the last quarter of the pixels, without and with "
            "what comes before, and the fall ½ log2 of their ratio."
        )
    if "numbers, all at one level" in kinds:
        told.append("In Gaussian diffusion all pixels share one level, and none is hidden while others are known.")
    told.append(
        "± is a standard error: SE² is the larger of B/T and W/(T·S), T training seeds, S sampling seeds, B the "
        "variance of the T means, W that of sampling seeds within a training seed. Bars in the pictures are two of "
        "them, and that is what counts as beyond error."
    )
    if len(compare["train_seeds"]) == 1:
        told.append(
            "With one training seed ± knows of sampling alone, and of bits, where none stands, any difference is taken "
            "for one."
        )
    return _wrapped(" ".join(told))


def _points(results: Results) -> str:
    rows = ["| family | point | evaluations | operations a picture | Fréchet ratio | two-sample | variance of real |"]
    rows.append("|---" * 7 + "|")
    for family in results["families"].values():
        for point in [*family["points"], *family["guided"][1:]]:
            operations = f"{point['flops']:.2e}" if "flops" in point else "—"
            told = (
                f"{point['evaluations']} | {operations} | {verdicts.pm(point['frechet_ratio'])} | "
                f"{verdicts.pm(point['two_sample'], '.3f')} | {verdicts.pm(point['spread'])} |"
            )
            rows.append(f"| {family['title']} | {point['name']} | {told}")
    return "\n".join(rows)


def _list(sentences: list[str]) -> str:
    return "\n".join(_wrapped(f"* {sentence}", "  ") for sentence in sentences) or "Not measured yet."


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
