"""Reports as text and HTML: scores of samples and of real images, bits per dimension, artefacts, provenance."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffjax.evaluation.image_statistics import Flag
from diffjax.evaluation.jackknife import interval_from_replicates
from diffjax.evaluation.paired import Score
from diffjax.reports import html
from diffjax.reports.evaluation_report import CodecFloor, Likelihoods, Provenance, Report
from diffjax.reports.findings import Findings
from diffjax.reports.json_report import report_document, write_json
from diffjax.reports.plots import plot_curves

SCORE_HEAD = ("measure", "samples", "95 % interval", "real images", "ideal")
FLAG_HEAD = ("of a picture", "samples", "real images", "standard errors", "effect", "verdict")
CODEC_HEAD = "codec alone"
NONE = "–"  # noqa: RUF001 (a dash, not a minus)
BITS_HEAD = ("bits per dimension", "train", "test", "ideal")


def table(report: Report) -> str:
    """Aligned tables for the terminal: scores, bits per dimension, and the provenance."""
    parts = [format_table(score_table(report.scores, report.codec))]
    if report.likelihoods is not None:
        parts += [format_table([BITS_HEAD, *bit_rows(report.likelihoods)])]
    return "\n\n".join([*parts, "\n".join(describe_source(report))])


def write_report(folder: str | Path, report: Report) -> Path:
    """Writes folder/report.html, self-contained, report.json with all its numbers, and a PNG file for each plot.

    Findings come first, the provenance last.
    """
    folder = Path(folder)
    findings = report.findings or Findings()
    sections = (
        [html.bullet_list(findings.alarms, "alarms")]
        if findings.alarms
        else [html.paragraph("Nothing that was looked for was found.")]
    )
    parts = [html.section("What stands out", *sections)] if report.findings is not None else []
    parts += [html.section("Scores", html.table(score_table(report.scores, report.codec)))]
    if report.likelihoods is not None:
        parts += [html.section("Bits per dimension", html.table([BITS_HEAD, *bit_rows(report.likelihoods)]))]
    if findings.flags:
        raised = [number for number, flag in enumerate(findings.flags, 1) if flag.raised]
        parts += [html.section("Artefacts", html.table([FLAG_HEAD, *flag_rows(findings.flags)], raised))]
    figures = {caption: Path(path) for caption, path in report.pictures.items()}
    for name, curves in report.curves.items():
        figures[curves.caption] = folder / f"{name}.png"
        plot_curves(figures[curves.caption], curves)
    parts += [html.section(caption, html.figure(path, caption)) for caption, path in figures.items()]
    parts += [html.section("Where this comes from", html.bullet_list(describe_source(report)))]
    write_json(folder / "report.json", report_document(report))
    html.write_page(folder / "report.html", report.title, *parts)
    return folder / "report.html"


def flag_rows(flags: Sequence[Flag]) -> list[tuple[str, ...]]:
    """One row per artefact measure: its mean over samples and over real images, and whether they differ."""
    return [
        (
            flag.name,
            f"{flag.samples:.4f}",
            f"{flag.real:.4f}",
            f"{flag.errors:+.1f}",
            f"{flag.effect:+.2f}",
            "differs" if flag.raised else "as real, or nearly",
        )
        for flag in flags
    ]


def score_table(scores: Sequence[Score], codec: CodecFloor | None) -> list[tuple[str, ...]]:
    """The head and a row per measure; of a model of latents with what the codec alone would score."""
    rows = [SCORE_HEAD, *score_rows(scores)]
    if codec is None:
        return rows
    floors = [CODEC_HEAD]
    for score in scores:
        floors.append(score.format(codec.values[score.name]) if score.name in codec.values else NONE)
    return [(*row[:-1], floor, row[-1]) for row, floor in zip(rows, floors, strict=True)]


def score_rows(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """One row per measure: name, value and interval of samples, value of real images, ideal."""
    rows = []
    for score in scores:
        interval = interval_from_replicates(score.samples)
        between = f"{score.format(interval.low)} … {score.format(interval.high)}" if isfinite(interval.error) else NONE
        real = score.format(score.real.value) if isfinite(score.real.value) else NONE
        rows.append((score.name, score.format(interval.value), between, real, score.ideal))
    return rows


def bit_rows(likelihoods: Likelihoods) -> list[tuple[str, ...]]:
    """One row per model: name, mean bits with standard error over the images of each split."""
    return [
        (name, *(mean_and_error(bits) for bits in bits_of_splits), "lower is better")
        for name, bits_of_splits in likelihoods.bits.items()
    ]


def mean_and_error(bits: Float[np.ndarray, " n"]) -> str:
    """Mean ± standard error; the value alone of a single image."""
    if len(bits) < 2:
        return f"{bits.mean():.3f}"
    return f"{bits.mean():.3f} ± {bits.std(ddof=1) / len(bits) ** 0.5:.3f}"


def describe_source(report: Report) -> list[str]:
    """The provenance in lines of text, with what the codec costs."""
    lines = describe_provenance(report.source, report.likelihoods)
    if report.codec is not None:
        lines.append(
            f"{CODEC_HEAD}: training images that it encodes and decodes, scored as samples; test images come back with "
            f"PSNR {report.codec.psnr:.2f} dB, their spectrum {report.codec.spectrum:.2f} dB off"
        )
    return lines


def describe_provenance(source: Provenance, likelihoods: Likelihoods | None = None) -> list[str]:
    """The provenance in lines of text."""
    counts = source.reference
    widths = source.kernels
    images = ", ".join(f"{count:,} {name}" for name, count in counts.items()) + " images" if counts else "moments"
    lines = [
        f"{source.samples:,} samples: {source.made}",
        f"reference: {images}, sha256 {source.fingerprint}",
        f"kernels: MMD² sigma {widths.sigma:.4g}; two-sample gamma {widths.two_sample_gamma:.3g}, "
        f"C {widths.two_sample_C:.3g}; accuracy gamma {widths.accuracy_gamma:.3g}",
        *(f"{name}: {value}" for name, value in source.more.items()),
    ]
    if likelihoods is not None:
        lines.append(f"bits per dimension: {likelihoods.description}")
    if source.samples < counts.get("train", 0):
        lines.append(f"distances: of {source.samples:,} samples, as of so many training images; more of both are lower")
    return lines


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows aligned for a terminal, the first as the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    body = ["  ".join(align_columns(row, widths)).rstrip() for row in rows]
    return "\n".join([body[0], "  ".join("─" * width for width in widths).rstrip(), *body[1:]])


def align_columns(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The first and the last column aligned left, those between, which are numbers, right."""
    return [
        text.ljust(width) if column in (0, len(row) - 1) else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
