"""Any file or folder of weights: what it is, by its content, and its tensors."""

from collections.abc import Mapping
from pathlib import Path

from diffjax.errors import UserError
from diffjax.published.flax_files import read_flax_tree
from diffjax.published.flax_trees import gather_flax, holds_orbax_tree, read_orbax_tree
from diffjax.published.safetensors_files import read_safetensors
from diffjax.published.snapshots import find_snapshots, holds_snapshots, read_average
from diffjax.published.state_dicts import check_average, gather_tensors
from diffjax.published.stored_tensors import StoredTensor, WeightFile
from diffjax.published.torch_files import read_archive, read_pickle
from diffjax.utils.file_regions import close_all
from diffjax.utils.files import describe_error
from diffjax.utils.untrusted import read_json

CONFIG = "config.json"  # of a diffusers folder
PIPELINE = "model_index.json"  # of a folder of several of them
DENOISERS = ("unet", "transformer")  # the folder of a pipeline that has its denoiser
INDEX_SUFFIX = ".safetensors.index.json"  # of weights in several files
SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")
FLAX = ".msgpack"
SUFFIXES = (SAFETENSORS, *PICKLES, FLAX)
MAX_JSON = 10**7  # bytes
ARCHIVE = b"PK\x03\x04"  # the first bytes of a file of torch.save
PICKLE = b"\x80"  # the first byte of a pickle


def read_weight_file(path: str | Path, average: str | None = None) -> WeightFile:
    """The tensors of a file, of a diffusers folder, or of an Orbax checkpoint; nothing in it is executed.

    No number is read yet. Of a pipeline they are its denoiser's, and the path is that folder. Those of Flax have the
    names and the layout of the torch modules that they mirror (`flax_trees`). `average` chooses among the weights of a
    checkpoint, such as "model" beside "ema"; of a folder of snapshots it is one of any length (`snapshots`). Raises
    UserError for what is no file of weights, is damaged, or names anything else than tensors.
    """
    path = Path(path)
    close_all()
    try:
        return _read_folder(path, average) if path.is_dir() else _read_file(path, average)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    # A damaged pickle, archive or header leads what reads it to an error of any type.
    except Exception as error:
        problem = f"{type(error).__name__}: {describe_error(error)[:200]}"
        raise UserError(f"{path}: cannot be read as weights ({problem}); download it again") from error


def is_weight_file(path: str | Path) -> bool:
    """Whether a path has the form of a file or folder that `read_weight_file` reads."""
    path = Path(path)
    if not path.is_dir():
        return path.suffix in SUFFIXES
    try:
        config = read_json(path / CONFIG, MAX_JSON) if (path / CONFIG).is_file() else {}
    except (OSError, ValueError):
        return False
    if (path / PIPELINE).is_file() or (isinstance(config, dict) and _class_name(config)) or holds_orbax_tree(path):
        return True
    return not config and holds_snapshots(path)


def read_config(path: Path) -> dict[str, object]:
    """The JSON object in a file. Raises UserError where there is none."""
    try:
        config = read_json(path, MAX_JSON)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a config ({describe_error(error)[:200]})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: is no JSON object; use the one that the weights came with")
    return config


def _class_name(config: Mapping[str, object]) -> str:
    """The class that a config of diffusers names, or the first one that one of transformers names; "" for neither."""
    classes = config.get("architectures")
    return str(config.get("_class_name", classes[0] if isinstance(classes, list) and classes else ""))


def _denoiser_folder(folder: Path) -> Path:
    """The folder of the denoiser in that of a pipeline; another folder, or a pipeline with its own config, itself."""
    if (folder / CONFIG).is_file() or not (folder / PIPELINE).is_file():
        return folder
    return next((folder / part for part in DENOISERS if (folder / part / CONFIG).is_file()), folder)


def _read_file(path: Path, average: str | None) -> WeightFile:
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is a pipe or a device; give a file of weights, or a diffusers folder")
    with path.open("rb") as file:
        head = file.read(len(ARCHIVE))
    if path.suffix == SAFETENSORS:
        check_average(path, average)
        return WeightFile(path, read_safetensors(path))
    if path.suffix == FLAX:
        return gather_flax(path, read_flax_tree(path), average)
    if head == ARCHIVE:
        return gather_tensors(path, read_archive(path), average)
    if head[:1] == PICKLE or path.suffix in PICKLES:
        return gather_tensors(path, read_pickle(path), average)
    raise UserError(f"{path}: is no file of weights; one ends in {', '.join(SUFFIXES)}, or is a diffusers folder")


def _read_folder(folder: Path, average: str | None) -> WeightFile:
    """The weights of a diffusers folder, in one file or several, with its config; or of snapshots of a training."""
    folder = _denoiser_folder(folder)
    if not (folder / CONFIG).is_file() and holds_orbax_tree(folder):
        return gather_flax(folder, read_orbax_tree(folder), average)
    if not (folder / CONFIG).is_file() and (snapshots := find_snapshots(folder)):
        return read_average(folder, snapshots, average, lambda path: _read_file(path, None))
    if not (folder / CONFIG).is_file():
        problem = f"has no {CONFIG}, and no {' or '.join(DENOISERS)} of a pipeline"
        raise UserError(f"{folder}: {problem}; give a diffusers folder, such as the unet of a pipeline, or a file")
    config = read_config(folder / CONFIG)
    kind = _class_name(config)
    indices = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    if len(indices) == 1:
        check_average(folder, average)
        return WeightFile(folder, _read_shards(indices[0]), kind, config)
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    files = [path for path in files if path.suffix == SAFETENSORS] or files
    if len(files) != 1:
        names = ", ".join(f"{path.name:.80}" for path in files[:3])
        problem = f"has {len(files)} files of weights: {names}" if files else "has no weights"
        raise UserError(f"{folder}: {problem}; leave one, or give its path")
    inner = _read_file(files[0], average)
    return WeightFile(folder, inner.tensors, kind, config)


def _read_shards(index: Path) -> dict[str, StoredTensor]:
    """The tensors of several files, by the index that says which has which."""
    document = read_json(index, MAX_JSON)
    places = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise UserError(f"{index}: has no weight_map from tensors to files; download it again")
    files = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise UserError(f"{index}: names {name!r:.80}, and may name files beside it alone; download it again")
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent / name}: is missing, and {index.name} names it; download it")
        files[name] = read_safetensors(index.parent / name)
    lacking = next((name for name, place in places.items() if name not in files[place]), None)
    if lacking is not None:
        raise UserError(f"{index.parent / places[lacking]}: has no tensor {lacking!r:.80}, which {index.name} names")
    return {name: files[place][name] for name, place in places.items()}
