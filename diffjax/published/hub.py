"""Files of the Hugging Face hub by address: `hf://owner/name`, a folder, or `hf://owner/name/file`."""

from pathlib import Path

from diffjax.errors import UserError
from diffjax.utils.files import describe_error

PREFIX = "hf://"
SETTINGS = ("*.json", "*.txt")  # configs, and the merges of a tokenizer
WEIGHTS = ("*.safetensors", "*.bin")  # the second where a repository has none of the first


def is_address(source: str | Path) -> bool:
    """Whether a source is an address of the hub."""
    return str(source).startswith(PREFIX)


def fetch_file(address: str) -> Path:
    """The file or folder on this machine; what is there already is not downloaded again.

    Raises UserError where the address has no owner and name, where huggingface-hub is missing, and where nothing can be
    downloaded.
    """
    owner, _, rest = address.removeprefix(PREFIX).partition("/")
    name, _, file = rest.partition("/")
    if not (owner and name):
        raise UserError(f"{address}: expected hf://owner/name or hf://owner/name/file")
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
    except ImportError:
        raise UserError(f"{address}: needs huggingface-hub; install diffjax with its extra hub") from None
    repository = f"{owner}/{name}"
    try:
        if file:
            return Path(hf_hub_download(repository, file))
        for weights in WEIGHTS:
            folder = Path(snapshot_download(repository, allow_patterns=[*SETTINGS, weights]))
            if any(folder.rglob(weights)):
                return folder
    # The client raises errors of its own, of its transport and of the operating system.
    except Exception as error:
        problem = f"{type(error).__name__}: {describe_error(error)[:200]}"
        raise UserError(f"{address}: cannot be downloaded ({problem}); check the address and the network") from error
    raise UserError(f"{address}: has no files {' or '.join(WEIGHTS)}; give one of its files, hf://owner/name/file")
