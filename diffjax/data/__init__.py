"""Images to learn from: data sets by name, pixels as numbers, batches in a reproducible order."""

from typing import TYPE_CHECKING

from diffjax.utils.lazy import lazy_names

if TYPE_CHECKING:
    from diffjax.data.batch_order import batch_ids
    from diffjax.data.condition_batches import build_parts, split_conditions
    from diffjax.data.condition_parts import Part
    from diffjax.data.datasets import open_dataset
    from diffjax.data.digits import Digits
    from diffjax.data.examples import Example
    from diffjax.data.generated_split import GeneratedSplit
    from diffjax.data.pipeline import RESIDENT_BYTES, Batch, BatchConfig, batches
    from diffjax.data.pixel_representation import dequantise, requantise, to_levels, to_uint8, to_unit
    from diffjax.data.splits import Dataset, Split, label_frequencies

__all__ = [
    "RESIDENT_BYTES",
    "Batch",
    "BatchConfig",
    "Dataset",
    "Digits",
    "Example",
    "GeneratedSplit",
    "Part",
    "Split",
    "batch_ids",
    "batches",
    "build_parts",
    "dequantise",
    "label_frequencies",
    "open_dataset",
    "requantise",
    "split_conditions",
    "to_levels",
    "to_uint8",
    "to_unit",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "batch_order": ("batch_ids",),
        "condition_batches": ("build_parts", "split_conditions"),
        "condition_parts": ("Part",),
        "datasets": ("open_dataset",),
        "digits": ("Digits",),
        "pipeline": ("RESIDENT_BYTES", "Batch", "BatchConfig", "batches"),
        "pixel_representation": ("dequantise", "requantise", "to_levels", "to_uint8", "to_unit"),
        "examples": ("Example",),
        "generated_split": ("GeneratedSplit",),
        "splits": ("Dataset", "Split", "label_frequencies"),
    },
)
