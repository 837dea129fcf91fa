"""From the data section of a config to a data set, and to the record of it that a model is built for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose, prod
from typing import Any, NamedTuple, get_type_hints

from diffjax.data import (
    Dataset,
    aspect_buckets,
    augment,
    condition_parts,
    datasets,
    decoded_cache,
    duplicates,
    fits,
    open_dataset,
    pixel_representation,
    split_rules,
    unreadable,
)
from diffjax.data.aspect_buckets import Buckets
from diffjax.data.augment import Augment
from diffjax.data.condition_batches import build_parts
from diffjax.data.condition_parts import Part
from diffjax.data.decoded_cache import CacheRule
from diffjax.data.duplicates import Duplicates
from diffjax.data.fits import Fit
from diffjax.data.framing import ImageSize
from diffjax.data.pictures import PictureRules
from diffjax.data.pixel_representation import Form
from diffjax.data.split_rules import SplitRule
from diffjax.data.unreadable import Unreadable
from diffjax.errors import UserError
from diffjax.experiment import specs, user_parts
from diffjax.experiment.codec_record import CodecRecord, parse_codec_record
from diffjax.experiment.config import Data
from diffjax.utils.files import is_single_line
from diffjax.utils.image_io import parse_colour, parse_size
from diffjax.utils.kinds import matches_type

MAX_PIXELS = 2**30  # of an image, or of a part of a condition
MAX_VOCAB = 2**20  # of a part of a condition


class PartSpec(NamedTuple):
    """A part of a condition: its name, the shape of a value, and how many integers it may be (0: real numbers)."""

    part: str
    shape: tuple[int, ...]
    vocab: int = 0


class CategoryNames(NamedTuple):
    """The names of the categories 0, 1, … of a part."""

    part: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class DataSpec:
    """What a model depends on of its data.

    The image shape, the number of classes (0 where unlabelled), their names and their shares of the training images,
    the number of levels of a pixel, the form in which the model sees it, the parts that a condition may have beside the
    class, and the names of the categories of those that are categories. Of stored latents, shape and form are theirs,
    and `codec` is what made them. `latents` is the form of pictures that a model sees as latents.
    """

    shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...]
    levels: int
    label_frequencies: tuple[float, ...]
    form: str
    parts: tuple[PartSpec, ...] = ()
    categories: tuple[CategoryNames, ...] = ()
    latents: Form | None = None
    codec: CodecRecord | None = None

    @property
    def encoding(self) -> Form:
        """How the model sees a picture."""
        return parse_form(self.form) if self.latents is None else self.latents

    @property
    def of_images(self) -> bool:
        """Whether examples are grey or RGB images, which can be shown."""
        return len(self.shape) == 3 and self.shape[2] in (1, 3) and self.codec is None

    @property
    def of_signals(self) -> bool:
        """Whether examples are signals [n, channels], which can be plotted."""
        return len(self.shape) == 2

    @property
    def vocab(self) -> int | None:
        """How many tokens the model has; None where it sees numbers."""
        return self.levels if self.encoding.discrete else None

    @property
    def semantics(self) -> dict[str, object]:
        """The fields on which the meaning of a model's numbers depends: not the shares of classes, which change as a
        set grows, nor where a codec lies.
        """
        kept = {name: value for name, value in vars(self).items() if name != "label_frequencies"}
        return kept if self.codec is None else {**kept, "codec": self.codec._replace(source="")}

    def matches(self, other: "DataSpec") -> bool:
        """Whether a model of the one can be used with the other."""
        return self.semantics == other.semantics


def build_data_spec(dataset: Dataset, form: str, parts: Sequence[Part] = ()) -> DataSpec:
    """The record of a data set in this form, with these parts of conditions.

    Raises UserError where the form is not for its pixels.
    """
    real = not dataset.has_levels
    if parse_form(form).real != real:
        problem = "real numbers; use real" if real else "levels, not real numbers; use unit, dequantised or tokens"
        raise UserError(f"data.form: pixels of {dataset.name!r} are {problem}, got {form!r}")
    shares = dataset.split("train").class_frequencies(dataset.classes) if dataset.classes else ()
    part_specs = tuple(PartSpec(part.name, part.shape, part.vocab) for part in parts)
    names = tuple(dataset.class_names)
    categories = tuple(CategoryNames(part.name, part.names) for part in parts if part.names)
    return DataSpec(dataset.shape, dataset.classes, names, dataset.levels, shares, form, part_specs, categories)


def parse_data_spec(document: Mapping[str, Any]) -> DataSpec:
    """The record of a JSON document. Raises TypeError or ValueError for values that no data can have."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in document.items()}
    values["parts"] = tuple(PartSpec(part, tuple(shape), vocab) for part, shape, vocab in document.get("parts", ()))
    values["categories"] = tuple(CategoryNames(part, tuple(names)) for part, names in document.get("categories", ()))
    values["codec"] = parse_codec_record(document.get("codec"))
    spec = DataSpec(**values)
    if not _possible(spec):
        raise ValueError("facts: out of range")
    return spec


def open_configured(data: Data, rule: str = split_rules.CURRENT_RULE) -> Dataset:
    """The data set of a config, divided into splits by that rule."""
    folder = data.dir or None
    image_size = parse_image_size(data.image_size)
    fit = specs.parse_value(fits, data.fit, "data.fit", Fit) if data.fit else None
    columns = datasets.Columns(data.image, data.label)
    pictures = PictureRules(
        parse_colour(data.background, "data.background"),
        specs.parse_value(unreadable, data.unreadable, "data.unreadable", Unreadable),
        specs.parse_value(duplicates, data.duplicates, "data.duplicates", Duplicates),
        data.follow_links,
    )
    if not user_parts.is_data_source(data.name):
        rules = parse_rule(rule)
        return open_dataset(
            data.name, folder, image_size=image_size, fit=fit, rule=rules, columns=columns, pictures=pictures
        )
    if data.image or data.label:
        raise UserError(f"data.{'image' if data.image else 'label'}: {data.name} is a set of your own; leave it out")
    frame = {"image_size": image_size, "fit": fit}
    takes = specs.parameter_names(datasets, data.name, "data.name")
    ignored = next((name for name, value in frame.items() if value is not None and name not in takes), None)
    if ignored is not None:
        raise UserError(f"data.{ignored}: {data.name} takes no argument {ignored}; leave it out, or add one")
    offered = {"data_dir": folder, **frame, "rule": parse_rule(rule), "pictures": pictures}
    return specs.instantiate(datasets, data.name, "data.name", kind=Dataset, offered=offered)


def parse_cache(text: str, image_size: str, fit: str) -> CacheRule:
    """The rule of `data.cache`. Raises UserError where pictures of a size or fit of one's own code are to be cached."""
    rule = specs.parse_value(decoded_cache, text, "data.cache", CacheRule)
    if rule.max_bytes and any(map(user_parts.imported_modules, (image_size, fit))):
        raise UserError("data.cache: a size or fit of your own may change, and is not cached; leave it out")
    return rule


def parse_image_size(text: str) -> ImageSize:
    """The sizes of a text such as `64`, `64x96` or `buckets(area=4096)`; None for an empty one."""
    if not text:
        return None
    if text[:1].isalpha():
        return specs.parse_value(aspect_buckets, text, "data.image_size", Buckets)
    return parse_size(text, "data.image_size")


def parse_rule(text: str) -> SplitRule:
    """The library's split rule of that name; runs record it, and no config names one of its own."""
    if user_parts.imported_modules(text):
        raise UserError(f"splits.rule: expected by_key or by_rank, got {text[:80]!r}")
    return specs.parse_value(split_rules, text, "splits.rule", SplitRule)


def parse_form(text: str) -> Form:
    """The form of that name. Raises UserError for an unknown one."""
    return specs.parse_value(pixel_representation, text, "data.form", Form)


def parse_augment(texts: Sequence[str]) -> tuple[Augment, ...]:
    """The augmentations of a config. Raises UserError for an unknown one."""
    return tuple(specs.instantiate(augment, text, "data.augment", kind=Augment) for text in texts)


def parse_parts(texts: Sequence[str], dataset: Dataset) -> tuple[Part, ...]:
    """The parts of conditions of a config. Raises UserError for an unknown one, or one that does not suit the set."""
    makers = [specs.instantiate(condition_parts, text, "data.parts", kind=condition_parts.Maker) for text in texts]
    return build_parts(makers, dataset)


def _possible(spec: DataSpec) -> bool:
    kinds = get_type_hints(DataSpec).items()
    return (
        all(matches_type(vars(spec)[name], kind) for name, kind in kinds)
        and min(spec.shape, default=0) > 0
        and prod(spec.shape) <= MAX_PIXELS
        and 2 <= spec.levels <= 2**16
        and spec.classes == len(spec.class_names) == len(spec.label_frequencies)
        and min(spec.label_frequencies, default=0) >= 0
        and (isclose(sum(spec.label_frequencies), 1, abs_tol=1e-3) or not spec.classes)
        and all(map(_possible_part, spec.parts))
        and all(map(_possible_categories, spec.categories))
    )


def _possible_categories(categories: CategoryNames) -> bool:
    return (
        isinstance(categories.part, str)
        and len(categories.names) <= MAX_VOCAB
        and all(isinstance(name, str) and is_single_line(name) for name in categories.names)
    )


def _possible_part(part: PartSpec) -> bool:
    kinds = ((part.part, str), (part.shape, tuple[int, ...]), (part.vocab, int))
    return (
        all(matches_type(value, kind) for value, kind in kinds)
        and min(part.shape, default=1) > 0
        and prod(part.shape) <= MAX_PIXELS
        and 0 <= part.vocab <= MAX_VOCAB
    )
