"""One page on a profiled step: its time by kind of operation and by module, its FLOPs, and the share of the peak."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from diffjax.profiling.hlo_operations import Operation
from diffjax.profiling.peak import Peak
from diffjax.profiling.sources import Source, operation_source

MAX_MODULES = 16
MAX_OPERATIONS = 12
Row = tuple[str, ...]
Group = TypeVar("Group")


@dataclass(frozen=True)
class StepProfile:
    """Measurements of a training step, of which `steps` were traced.

    A step of `images` images takes `step_s` seconds, and `traced_step_s` while it is traced. `seconds` are those of
    each operation of the program in all traced steps, the mean over `devices`, and those of `OTHER_PROGRAMS` and of
    `WAITING`. `flops` of a step on each device are those of its matrix products and convolutions, by dtype; `xla_flops`
    those of all operations by XLA's account, None where the backend has none.
    """

    steps: int
    images: int
    devices: int
    step_s: float
    traced_step_s: float
    operations: Mapping[str, Operation]
    seconds: Mapping[str, float]
    flops: Counter[np.dtype]
    xla_flops: float | None
    peak: Peak

    @property
    def flops_per_second(self) -> float:
        """FLOP per second of each device."""
        return self.flops.total() / self.step_s

    @property
    def share_of_peak(self) -> float:
        """The FLOPs of a second as a share of the peak."""
        return self.flops_per_second / self.peak.flops_per_second

    def shares_by_kind(self) -> dict[str, float]:
        """The share of each kind of operation in the traced time, the largest first; their sum is 1."""
        return self._shares(lambda name: self.operations[name].kind if name in self.operations else name)

    def shares_by_module(self) -> dict[str, tuple[float, float]]:
        """The shares of each module, forward and backward, the largest first."""
        pairs: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for source, share in self._shares(self._source).items():
            pairs[source.module][source.backward] += share
        return {module: (one, other) for module, (one, other) in sorted(pairs.items(), key=lambda item: -sum(item[1]))}

    def slowest_operations(self, count: int) -> list[tuple[str, Operation, float]]:
        """The operations with the largest shares: name, operation and share."""
        shares = self._shares(lambda name: name)
        return [(name, self.operations[name], share) for name, share in shares.items() if name in self.operations][
            :count
        ]

    def _source(self, name: str) -> Source:
        return operation_source(self.operations[name].op_name) if name in self.operations else Source(name, False)

    def _shares(self, group: Callable[[str], Group]) -> dict[Group, float]:
        """The share of each group of operations, the largest first."""
        total = sum(self.seconds.values())
        shares: dict[Group, float] = defaultdict(float)
        for name, seconds in self.seconds.items():
            shares[group(name)] += seconds / total
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def format_summary(profile: StepProfile, title: str, source: str) -> str:
    """The page, as Markdown that is also aligned for a terminal; `source` says on what and when it was measured."""
    parts = [f"# {title}", "\n".join(f"* {line}" for line in [*_describe_speed(profile), source])]
    if any(name in profile.operations for name in profile.seconds):
        kinds = [(kind, *_time_columns(profile, share)) for kind, share in profile.shares_by_kind().items()]
        parts += ["## By kind of operation", _format_table([("kind", "share", "ms a step"), *kinds])]
        parts += [
            "## By module",
            _format_table([("module", "forward", "backward", "share", "ms a step"), *_modules(profile)]),
        ]
        parts += [
            "## The slowest operations",
            _format_table([("operation", "kind", "module", "share", "ms a step"), *_slowest(profile)]),
        ]
    else:
        parts += ["The trace of this backend names no operations of the program; open it in Perfetto or TensorBoard."]
    return "\n\n".join(parts) + "\n"


def _describe_speed(profile: StepProfile) -> list[str]:
    peak = profile.peak
    if profile.xla_flops is None:
        xla = "XLA gives no count for this backend"
    else:
        xla = f"XLA counts {profile.xla_flops / 1e9:.4g} GFLOP in all operations of the program, of each loop one round"
    return [
        f"A step of {profile.images:,} images takes {1e3 * profile.step_s:.4g} ms "
        f"({profile.images / profile.step_s:,.0f} images/s), and {1e3 * profile.traced_step_s:.4g} ms while it is "
        f"traced; {profile.steps} steps each.",
        f"It has {profile.flops.total() / 1e9:.4g} GFLOP on each of {profile.devices} device(s) in matrix products and "
        f"convolutions; {xla}.",
        f"It reaches {profile.flops_per_second / 1e12:.3g} TFLOP/s on each device, {profile.share_of_peak:.0%} of the "
        f"peak, {peak.flops_per_second / 1e12:.3g} TFLOP/s in products of {peak.size} x {peak.size} matrices of "
        f"{peak.dtype}, measured here.",
    ]


def _time_columns(profile: StepProfile, share: float) -> Row:
    return f"{share:.1%}", f"{1e3 * share * profile.traced_step_s:.3g}"


def _modules(profile: StepProfile) -> list[Row]:
    pairs = profile.shares_by_module()
    rows = list(pairs.items())[:MAX_MODULES]
    rest = list(pairs.values())[MAX_MODULES:]
    if rest:
        rows.append((f"{len(rest)} more", (sum(one for one, _ in rest), sum(other for _, other in rest))))
    return [
        (module, f"{one:.1%}", f"{other:.1%}", *_time_columns(profile, one + other)) for module, (one, other) in rows
    ]


def _slowest(profile: StepProfile) -> list[Row]:
    rows = []
    for name, operation, share in profile.slowest_operations(MAX_OPERATIONS):
        source = operation_source(operation.op_name)
        module = f"{source.module}, backward" if source.backward else source.module
        rows.append((name, operation.kind, module, *_time_columns(profile, share)))
    return rows


def _format_table(rows: Sequence[Row]) -> str:
    """A table whose first row is the head; numbers are aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numeric = [text[:1].isdigit() for text in rows[1]]
    lines = [
        [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        for row in rows
    ]
    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [lines[0], rule, *lines[1:]])
