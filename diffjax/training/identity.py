"""The identity of a run, by which its checkpoints are told from those of another run with equal shapes.

config.json has an identity that is drawn at a run's first start. Each checkpoint repeats it, with the hash of what its
numbers mean. A checkpoint with another one is an error that names it; no older one is read in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffjax.errors import UserError, warn
from diffjax.training import data_parallel, manifest, retention
from diffjax.utils.untrusted import file_sha256

ID_BYTES = 16  # of an identity


@dataclass(frozen=True)
class Identity:
    """`run` is drawn at a run's first start; empty for runs from before there were identities.

    `meaning` is the hash of what the numbers mean. `adoptions` are the checkpoints that such an older run had when it
    got its identity, SHA-256 of the manifest by the folder's name: these alone may have no identity.
    """

    run: str
    meaning: str
    adoptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, str]:
        """The fields of a checkpoint, a snapshot and an exported file."""
        return {"run": self.run, "meaning": self.meaning}


def draw_identity() -> str:
    """The identity of a new run, the same on all hosts."""
    return data_parallel.random_bytes(ID_BYTES).hex()


def manifest_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the manifest of every finished checkpoint, by the folder's name."""
    return {
        path.name: _hash(path) for path in retention.complete_checkpoints(folder) if manifest.read_if_possible(path)
    }


def check_checkpoint(path: Path, identity: Identity) -> None:
    """Raise UserError for a checkpoint of another run, or of another meaning."""
    adopted = identity.adoptions.get(path.name) == _hash(path)
    _check_identity(manifest.read_manifest(path), identity, adopted, f"{path}", "move it away")


def check_snapshot(path: Path, recorded: Mapping[str, object], identity: Identity) -> None:
    """The same for a snapshot; one without identity may be from before the run got its own."""
    adopted = int(path.stem) <= max((int(name) for name in identity.adoptions if name.isdecimal()), default=-1)
    _check_identity(recorded, identity, adopted, f"{path}", "move it away")


def check_file(path: Path, recorded: Mapping[str, object], identity: Identity) -> None:
    """The same for an exported file, which has its own config: only the meaning can differ."""
    _check_identity(recorded, identity, False, f"{path}", "export it again")


def check_all_checkpoints(folder: Path, identity: Identity) -> None:
    """Raise UserError for any finished checkpoint in a folder that is not of this run.

    It would be kept as if it were the run's own, and read once a newer one is damaged.
    """
    for path in retention.complete_checkpoints(folder):
        if manifest.read_if_possible(path):
            check_checkpoint(path, identity)


def report_if_unknown(path: Path, identity: Identity) -> None:
    """Warn of a checkpoint of a run without identity."""
    if not identity.run:
        message = "was written before checkpoints had the identity of their run; it is taken as this folder's own"
        warn(f"{path} {message}")


def _check_identity(recorded: Mapping[str, object], identity: Identity, adopted: bool, name: str, remedy: str) -> None:
    if recorded.get("run") is None and (adopted or not identity.run):
        return
    if recorded.get("run") != identity.run:
        fault = "carries no identity, unlike" if recorded.get("run") is None else "is of another run than"
        raise UserError(f"{name}: {fault} config.json; {remedy}, or restore the config.json it belongs to")
    if recorded.get("meaning") != identity.meaning:
        raise UserError(
            f"{name}: its numbers have another meaning than config.json says (model, data or seed differ); restore "
            f"that config.json, or {remedy}"
        )


def _hash(checkpoint_path: Path) -> str:
    return file_sha256(checkpoint_path / manifest.MANIFEST)
