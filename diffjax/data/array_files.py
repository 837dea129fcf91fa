"""Arrays of .npy and .npz files, mapped to memory where they are stored uncompressed; nothing is unpickled."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from diffjax.errors import UserError
from diffjax.utils.files import describe_error

MAX_COMPRESSED_BYTES = 2**32  # of an array that has to be unpacked into memory
_LOCAL_HEADER = 30  # bytes of a local file header of ZIP (APPNOTE 4.3.7), before name and extra field

Array = Shaped[np.ndarray, "..."]


def read_arrays(path: Path) -> Mapping[str, Array]:
    """The arrays of a file by name; that of an .npy is called image. Raises `UserError` for what cannot be read."""
    if not path.is_file():
        raise UserError(f"array:{path}: no such file; give an .npy or .npz")
    try:
        if path.suffix.lower() == ".npy":
            return {"image": np.load(path, mmap_mode="r", allow_pickle=False)}
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {info.filename.removesuffix(".npy"): _read_member(path, archive, info) for info in members}
    except UserError:
        raise
    except Exception as error:  # damage leads NumPy and zipfile to errors of any kind
        problem = f"cannot be read as an .npy or .npz of plain numbers and texts ({describe_error(error)[:120]})"
        raise UserError(f"array:{path}: {problem}; write it with numpy.save or numpy.savez") from None


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """One array of an .npz; a stored one is mapped, a compressed one unpacked."""
    with archive.open(info) as file:
        major, _ = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        header_bytes = file.tell()
        if dtype.hasobject:
            raise UserError(f"array:{path}: {info.filename} holds Python objects; store numbers and texts of NumPy")
        if info.compress_type == zipfile.ZIP_STORED and math.prod(shape):
            start = _data_offset(path, info) + header_bytes
            return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
        if math.prod(shape) * dtype.itemsize > MAX_COMPRESSED_BYTES:
            problem = f"{info.filename} is compressed and takes over {MAX_COMPRESSED_BYTES >> 30} GiB of memory"
            raise UserError(f"array:{path}: {problem}; write it with numpy.savez, which is mapped")
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER)
    name_length, extra_length = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return info.header_offset + _LOCAL_HEADER + name_length + extra_length
