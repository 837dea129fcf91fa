"""Published models: what a file of weights holds, found by the names and shapes of its tensors."""

from pathlib import Path
from typing import NamedTuple

from diffjax.errors import UserError
from diffjax.published import adm, dit, dit_diffusers, edm2, edm_precond, mar, unet_2d, unet_2d_condition
from diffjax.published.family import Family, PublishedModel
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.weight_files import read_weight_file

FAMILIES = (  # the first that matches is it
    dit.SIT,
    dit.DIT,
    dit_diffusers.FAMILY,
    edm_precond.FAMILY,
    edm2.FAMILY,
    unet_2d_condition.FAMILY,
    unet_2d.FAMILY,
    mar.FAMILY,
    adm.FAMILY,
)


class LoadedModel(NamedTuple):
    """A published model, its family, and the file that it was read from."""

    model: PublishedModel
    family: Family
    file: WeightFile


def load_published(path: str | Path, average: str | None = None, family: str | None = None) -> LoadedModel:
    """The model in a file or folder of published weights; nothing in it is executed.

    `average` chooses among the weights of a checkpoint, and `family` is for what no tensor tells ("DiT", "SiT"). Raises
    UserError for a file that is damaged, or of a family that is not known.
    """
    file = read_weight_file(path, average)
    chosen = find_family(file, family)
    return LoadedModel(chosen.read(file), chosen, file)


def find_family(file: WeightFile, name: str | None = None) -> Family:
    """The family of a file. Raises UserError where none has such tensors, or none is of that name."""
    candidates = [family for family in FAMILIES if name is None or family.name.lower() == name.lower()]
    if not candidates:
        choice = ", ".join(family.name for family in FAMILIES)
        raise UserError(f"family: expected one of {choice}, got {name!r}")
    for family in candidates:
        named = name is not None or file.path.name.lower().startswith(family.prefix)
        if named and family.matches(file):
            return family
    examples = ", ".join(map(repr, sorted(file.tensors)[:3]))
    known = ", ".join(family.name for family in candidates)
    raise UserError(f"{file.path}: has tensors such as {examples}, which no model of these has: {known}")
