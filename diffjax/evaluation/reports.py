"""Scores as people read them: beside what real images get, with where they come from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from diffjax.evaluation import html
from diffjax.evaluation.artefacts import Flag
from diffjax.evaluation.findings import Findings
from diffjax.evaluation.measures import DIGITS, NAMES, Kernels, Scores, Splits, require

HEAD = ("measure", "samples", "real images", "ideal")
FLAGS = ("of a picture", "samples", "real images", "standard errors", "effect", "")
BITS = ("bits per dimension", "train", "test", "")


@dataclass(frozen=True)
class Provenance:
    """Where scores come from; without it, two scores cannot be compared. `provenance` makes it."""

    samples: int
    sampler: str
    steps: int
    seed: int
    reference: Mapping[str, int]  # images in each split
    fingerprint: str  # of those images
    kernels: Kernels = DIGITS
    more: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # printed as "name: value"


@dataclass(frozen=True)
class Likelihoods:
    """Bits per dimension of images of train and of test under some models: name -> (bits of train, bits of test)."""

    bits: Mapping[str, tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]]
    told: str  # how they were measured


def provenance(
    samples: int, sampler: str, steps: int, seed: int, splits: Splits, kernels: Kernels = DIGITS, **more: str
) -> Provenance:
    """The provenance of `samples` images drawn by `sampler` in `steps` steps; `more` might be config="…", bits="…"."""
    require(splits)
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update(f"{name}{splits[name][0].shape}".encode())
        digest.update(np.ascontiguousarray(splits[name][0]).tobytes())
    counts = {name: len(splits[name][0]) for name in NAMES}
    return Provenance(samples, sampler, steps, seed, counts, digest.hexdigest()[:12], kernels, more)


def table(scores: Scores, real: Scores, source: Provenance, likelihoods: Likelihoods | None = None) -> str:
    """Aligned tables for the terminal: every measure, what real images get, what is ideal; bits; the provenance."""
    parts = [plain([HEAD, *lines(scores, real)])]
    if likelihoods is not None:
        parts += [plain([BITS, *bit_lines(likelihoods)])]
    return "\n\n".join([*parts, "\n".join(origin(source, likelihoods))])


def write_report(
    folder: str | Path,
    scores: Scores,
    real: Scores,
    source: Provenance,
    pictures: Mapping[str, str | Path],
    title: str = "Evaluation",
    likelihoods: Likelihoods | None = None,
    findings: Findings | None = None,
) -> Path:
    """Writes folder/report.html, one file that needs no other: findings, tables, pictures (caption: file), origin."""
    found = findings or Findings()
    said = [html.told(found.alarms)] if found.alarms else [html.paragraph("Nothing that was looked for was found.")]
    parts = [html.section("What stands out", *said)] if findings is not None else []
    parts += [html.section("Scores", html.table([HEAD, *lines(scores, real)]))]
    if likelihoods is not None:
        parts += [html.section("Bits per dimension", html.table([BITS, *bit_lines(likelihoods)]))]
    if found.flags:
        raised = [number for number, flag in enumerate(found.flags, 1) if flag.raised]
        parts += [html.section("Artefacts", html.table([FLAGS, *flag_lines(found.flags)], raised))]
    parts += [html.section(caption, html.figure(path, caption)) for caption, path in pictures.items()]
    parts += [html.section("Where this comes from", html.told(origin(source, likelihoods)))]
    html.write_page(Path(folder) / "report.html", title, *parts)
    return Path(folder) / "report.html"


def flag_lines(flags: Sequence[Flag]) -> list[tuple[str, ...]]:
    """One line per measure of pictures: its mean over samples and over real images, and whether they differ."""
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


def lines(scores: Scores, real: Scores) -> list[tuple[str, ...]]:
    """One line per measure: its name, the samples' value, that of real images, what to wish for."""
    both = (scores, real)
    return [
        ("Fréchet distance, ratio", *(f"{x.frechet_ratio:.2f}" for x in both), "1, lower is better"),
        ("MMD²", *(f"{x.mmd2:+.4f}" for x in both), "0, lower is better"),
        ("two-sample test", *(f"{x.two_sample:.3f}" for x in both), "0.5, nearer is better"),
        ("label accuracy", *(percent(x.accuracy) for x in both), "as real, higher is better"),
        ("copies of training images", *(percent(x.copies) for x in both), "as real, lower is better"),
    ]


def bit_lines(likelihoods: Likelihoods) -> list[tuple[str, ...]]:
    """One line per model: its name, its mean bits with their standard error over the images of each split."""
    return [
        (name, *(mean_and_error(bits) for bits in both), "lower is better") for name, both in likelihoods.bits.items()
    ]


def mean_and_error(bits: Float[np.ndarray, " n"]) -> str:
    """Their mean, and its standard error."""
    return f"{bits.mean():.3f} ± {bits.std(ddof=1) / len(bits) ** 0.5:.3f}"


def origin(source: Provenance, likelihoods: Likelihoods | None = None) -> list[str]:
    """The provenance in lines of text."""
    counts, widths = source.reference, source.kernels
    images = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    told = [
        f"{source.samples:,} samples: {source.sampler}, {source.steps} steps, seed {source.seed}",
        f"reference: {images} images, sha256 {source.fingerprint}",
        f"kernels: MMD² sigma {widths.sigma:.4g}; two-sample gamma {widths.two_sample_gamma:.3g}, "
        f"C {widths.two_sample_C:.3g}; accuracy gamma {widths.accuracy_gamma:.3g}",
        *(f"{name}: {value}" for name, value in source.more.items()),
    ]
    if likelihoods is not None:
        told.append(f"bits per dimension: {likelihoods.told}")
    if source.samples < counts["train"]:
        told.append(f"fewer samples than training images ({source.samples:,} < {counts['train']:,}) raise the ratio")
    return told


def percent(share: float | None) -> str:
    """A share as per cent, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"  # noqa: RUF001 (a dash, not a minus)


def plain(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the head, aligned for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    body = ["  ".join(aligned(row, widths)).rstrip() for row in rows]
    return "\n".join([body[0], "  ".join("─" * width for width in widths).rstrip(), *body[1:]])


def aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Words to the left, numbers (the middle columns) to the right."""
    return [
        text.ljust(width) if column in (0, len(row) - 1) else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
