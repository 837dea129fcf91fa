"""Any file or folder of weights: what it is, by its content, and its tensors."""

import zipfile
from pathlib import Path

from diffjax.errors import UserError
from diffjax.published.safetensors_files import read_safetensors
from diffjax.published.state_dicts import gather_tensors
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.torch_files import read_archive, read_pickle
from diffjax.utils.file_regions import close_all
from diffjax.utils.files import describe_error
from diffjax.utils.untrusted import read_json, require_file

CONFIG = "config.json"  # of a diffusers folder
INDEX_SUFFIX = ".safetensors.index.json"  # of weights in several files
SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")
SUFFIXES = (SAFETENSORS, *PICKLES)
MAX_JSON = 10**8  # bytes
PICKLE_PROTOCOL = b"\x80"  # the first byte


def read_weight_file(path: str | Path, average: str | None = None) -> WeightFile:
    """The tensors of a file, or of a diffusers folder; nothing in it is executed, and no number read yet.

    `average` chooses among the weights of a checkpoint, such as "model" beside "ema". Raises UserError for what is no
    file of weights, is damaged, or names anything else than tensors.
    """
    path = Path(path)
    close_all()
    try:
        if path.is_dir():
            return _read_folder(path)
        require_file(path)
        with path.open("rb") as file:
            first = file.read(1)
        if zipfile.is_zipfile(path):
            return gather_tensors(path, read_archive(path), average)
        if path.suffix == SAFETENSORS:
            return WeightFile(path, read_safetensors(path))
        if first == PICKLE_PROTOCOL:
            return gather_tensors(path, read_pickle(path), average)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as weights ({describe_error(error)[:200]})") from None
    raise UserError(f"{path}: is no file of weights; one ends in {', '.join(SUFFIXES)}, or is a diffusers folder")


def is_weight_file(path: str | Path) -> bool:
    """Whether a path has the form of a file or folder that `read_weight_file` reads."""
    path = Path(path)
    return (path / CONFIG).is_file() if path.is_dir() else path.suffix in SUFFIXES


def _read_folder(folder: Path) -> WeightFile:
    """The weights of a diffusers folder, in one file or several, with its config."""
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder}: has no {CONFIG}; give a diffusers folder, such as the unet of a pipeline, or a file"
        )
    config = read_json(folder / CONFIG, MAX_JSON)
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG}: is no JSON object; use the one that the weights came with")
    kind = config.get("_class_name", "")
    indices = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    if len(indices) == 1:
        return WeightFile(folder, _read_shards(indices[0]), str(kind), config)
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    files = [path for path in files if path.suffix == SAFETENSORS] or files
    if len(files) != 1:
        names = (
            f"{len(files)} files of weights: " + ", ".join(path.name for path in files[:3]) if files else "no weights"
        )
        raise UserError(f"{folder}: has {names}; leave one, or give its path")
    inner = read_weight_file(files[0])
    return WeightFile(folder, inner.tensors, str(kind), config)


def _read_shards(index: Path) -> dict:
    """The tensors of several files, by the index that says which has which."""
    document = read_json(index, MAX_JSON)
    places = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(places, dict) or not all(Path(str(name)).name == name for name in places.values()):
        raise UserError(f"{index}: has no weight_map from tensors to files beside it; download it again")
    files = {}
    for name in sorted(set(places.values())):
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent / name}: is missing, and {index.name} names it; download it")
        files[name] = read_safetensors(index.parent / name)
    lacking = next((name for name, place in places.items() if name not in files[place]), None)
    if lacking is not None:
        raise UserError(f"{index.parent / places[lacking]}: has no tensor {lacking!r:.80}, which {index.name} names")
    return {name: files[place][name] for name, place in places.items()}
