"""Files that a stranger made to do harm, or that are damaged: refused in one line, at once, and nothing is run."""

import json
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from strangers import refused

from diffjax.errors import UserError
from diffjax.published.weight_files import read_weight_file
from diffjax.utils.files import is_single_line
from tests.published.pickle_assembler import (
    OLD_HEAD,
    Code,
    build,
    call,
    name,
    old_form,
    pickled,
    push,
    storage,
    tensor,
    write_archive,
    write_safetensors,
    write_state,
)

FILES = Path(__file__).parent / "files"
TRIALS = 300  # of files with a few changed bytes
MAX_GROWTH = 200  # megabytes of the process
STATE = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3, np.float32)}
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
pytestmark = pytest.mark.usefixtures("untyped")  # as users have it
PROTOCOL = b"\x80\x02"
NAMESPACE = name("argparse", "Namespace")
ORDERED = name("collections", "OrderedDict")


class Harm:
    """Unpickled, it imports a module of that name."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return __import__, ("harm",)


@contextmanager
def refused_by_path(path: Path, message: str) -> Iterator[None]:
    """As all files of strangers are refused, by a message that begins with the path, and in little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with refused(rf"^{path}(/[^ ]*)?: .*{message}", path.parent):
        yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH * 1024


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which code that is run would leave a file."""
    (tmp_path / "harm.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True, scope="module")
def warm() -> None:
    """What comes after is not slow for the first time."""
    for path in ("module.pkl", "types.safetensors", "state.pt"):
        read_weight_file(FILES / path)


FORBIDDEN = {
    "os.system": "touch executed",
    "posix.system": "touch executed",
    "subprocess.check_output": "touch executed",
    "builtins.eval": "open('executed', 'w')",
    "builtins.exec": "open('executed', 'w')",
    "builtins.getattr": "executed",
    "builtins.__import__": "harm",
    "builtins.open": "executed",
    "__builtin__.eval": "open('executed', 'w')",
    "importlib.import_module": "harm",
    "operator.attrgetter": "executed",
    "functools.partial": "executed",
    "pickle.loads": "executed",
    "runpy.run_path": "harm.py",
    "webbrowser.open": "executed",
    "numpy.load": "executed",
    "numpy.fromfile": "executed",
    "numpy.core.multiarray.fromfile": "executed",
    "torch.load": "executed",
    "torch.hub.load": "executed",
    "torch._utils._rebuild_qtensor": "executed",
    "torch.storage.UntypedStorage": "executed",
    "torch.nn.functional.relu": "executed",
    "collections.OrderedDict.fromkeys": "executed",
    "dnnlib.util.get_obj_by_name": "harm",
    "copyreg.add_extension": "executed",
}


@pytest.mark.parametrize("function", FORBIDDEN)
def test_a_name_that_weights_do_not_need_is_an_error(function, folder) -> None:
    module, _, attribute = function.rpartition(".")
    content = {"weight": tensor(), "more": call(name(module, attribute), FORBIDDEN[function])}
    path = write_archive(folder / "weights.pt", content)
    with refused_by_path(path, f"names {function}, "):
        read_weight_file(path)
    path = folder / "module.pkl"
    path.write_bytes(pickled(content))
    with refused_by_path(path, f"(names {function}, |refers to an object beside itself)"):
        read_weight_file(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read_by_the_same_rule(protocol, folder) -> None:
    path = folder / "weights.pkl"
    path.write_bytes(pickle.dumps({"ema": Harm()}, protocol))
    with refused_by_path(path, r"names (builtins|__builtin__)\.__import__, "):
        read_weight_file(path)


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> Code:
    return Code(b"j" + struct.pack("<I", index))


def shared_dicts(depth: int) -> Code:
    """Dictionaries, each twice in the next: 2^depth ways to the innermost."""
    code = b"}" + put(0)
    for level in range(depth):
        code += b"0" + push({"a": get(level), "b": get(level)}) + put(level + 1)
    return Code(code)


def endless_module() -> Code:
    """A module that is a part of itself, twice."""
    return Code(call(NAMESPACE) + put(0) + push({"_modules": {"a": get(0), "b": get(0)}}) + b"b")


def nested_storage(data: object) -> dict[str, Code]:
    """A tensor whose storage is a string of bytes of its own."""
    return {"weight": tensor(data=call(LOAD, data))}


def persistent(meta: object) -> Code:
    return call(name("torch_utils.persistence", "_reconstruct_persistent_obj"), meta)


LOAD = name("torch.storage", "_load_from_bytes")
SYSTEM = call(name("os", "system"), "touch executed")
VIEW = Code(push(("storage", name("torch", "FloatStorage"), "0", "cpu", 6, ("1", 0, 6))) + b"Q")

PICKLES = {
    "a number": (pickled(3), "holds no tensors"),
    "no tensors": (pickled({"step": 3, "args": call(NAMESPACE)}), "holds no tensors"),
    "nothing": (b"", "cannot be read"),
    "a protocol alone": (PROTOCOL, "cannot be read"),
    "no end": (PROTOCOL + push({}), "cannot be read"),
    "no value": (PROTOCOL + b".", "cannot be read"),
    "no mark": (PROTOCOL + b"t.", "cannot be read"),
    "no such memo": (PROTOCOL + b"h\x05.", "cannot be read"),
    "no instruction": (PROTOCOL + b"\xff.", "cannot be read"),
    "EXT1": (PROTOCOL + b"\x82\x01.", "instruction EXT1"),
    "EXT2": (PROTOCOL + b"\x83\x01\x00.", "instruction EXT2"),
    "EXT4": (PROTOCOL + b"\x84\x01\x00\x00\x00.", "instruction EXT4"),
    "INST": (b"(S'touch executed'\nios\nsystem\n.", "instruction INST"),
    "OBJ": (PROTOCOL + b"(" + NAMESPACE + b"o.", "instruction OBJ"),
    "NEWOBJ_EX": (PROTOCOL + NAMESPACE + b")}\x92.", "instruction NEWOBJ_EX"),
    "PERSID": (PROTOCOL + b"Pstorage\n.", "instruction PERSID"),
    "NEXT_BUFFER": (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
    "a memo of 32 GB": (PROTOCOL + b"}r\xff\xff\xff\xff.", "holds no tensors"),
    "4 GB of bytes": (PROTOCOL + b"B\xff\xff\xff\xff", "cannot be read"),
    "2^60 bytes": (PROTOCOL + b"\x8e" + struct.pack("<Q", 2**60), "cannot be read"),
    "2^60 letters": (PROTOCOL + b"\x8d" + struct.pack("<Q", 2**60), "cannot be read"),
    "a frame of 2^60": (b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"}.", "holds no tensors"),
    "a large integer": (pickled(2**1_000_000), "integer of 1,000,001 bits"),
    "many digits": (b"I" + b"9" * 10_000 + b"\n.", "cannot be read"),
    "tuples as a key": (PROTOCOL + b"})" + b"\x85" * 200_000 + b"Ns.", "key that is no text or small integer"),
    "keys of one hash": (pickled({i * (2**61 - 1): None for i in range(1, 9)}), "key that is no text"),
    "lists in lists": (PROTOCOL + b"]" * 100_000 + b"a" * 99_999 + b".", "holds no tensors"),
    "2^90 dictionaries": (pickled({"ema": shared_dicts(90)}), "too many modules"),
    "an endless module": (pickled({"ema": endless_module()}), "too many modules"),
    "a called number": (pickled(call(push(3))), "calls a int"),
    "a called storage": (pickled(call(name("torch", "FloatStorage"), 10**12)), "calls a StorageKind"),
    "many arguments": (pickled(call(ORDERED, *[None] * 1000)), "calls a Function"),
    "an argument": (pickled(call(ORDERED, [])), "cannot be read"),
    "a tuple that grows": (PROTOCOL + b")Na.", "appends to a tuple"),
    "a tuple with items": (PROTOCOL + b")NNs.", "sets an item of a tuple"),
    "half an item": (PROTOCOL + b"}(Nu.", "cannot be read"),
    "attributes of a function": (pickled(build(ORDERED, {"__code__": 3})), "holds no tensors"),
    "attributes of a class": (pickled(build(NAMESPACE, (None, {"__init__": ORDERED}))), "holds no tensors"),
    "a __setstate__": (
        pickled({"a": build(build(call(NAMESPACE), {"__setstate__": ORDERED}), {"b": 3})}),
        "holds no tensors",
    ),
    "an object of a number": (pickled(call(name("copyreg", "_reconstructor"), 3, None, None)), "without a class"),
    "a class of no name": (pickled({"ema": persistent({"state": {}})}), "without its class and state"),
    "a class of a number": (pickled({"ema": persistent(3)}), "without its class and state"),
    "arguments in a list": (
        pickled({"ema": persistent({"class_name": "A", "state": {"_init_kwargs": [], "_modules": {}}})}),
        "holds no tensors",
    ),
    "a storage beside": (pickled({"weight": tensor()}), "refers to an object beside itself"),
    "os.system in a storage": (pickled(nested_storage(old_form(SYSTEM, {}))), "names os.system"),
    "a storage in a storage": (
        pickled(nested_storage(old_form(call(LOAD, old_form({}, {})), {}))),
        "storages within storages",
    ),
    "a storage of a number": (pickled(nested_storage(pickled(3, 4))), "no file of torch.save"),
    "a storage of no bytes": (pickled(nested_storage(3)), "no string of bytes"),
    "a storage of a dictionary": (pickled(nested_storage(old_form({}, {}))), "'weight' is no tensor of numbers"),
    "a storage cut short": (
        pickled(nested_storage(old_form(storage("0", 6), {"0": bytes(24)})[:-50])),
        "cannot be read",
    ),
    "numbers cut short": (old_form({"w": tensor()}, {"0": bytes(24)})[:-1], "ends before its numbers"),
    "no numbers": (old_form({"w": tensor()}, {}), "lists other storages"),
    "numbers of no tensor": (old_form({}, {"0": bytes(24)}), "lists other storages"),
    "another count": (old_form({"w": tensor()}, {"0": bytes(20)}), "not all numbers of storage '0'"),
    "a list of lists": (pickled(*OLD_HEAD, {}, [[]]), "lists other storages"),
    "a view of a storage": (old_form({"w": tensor(data=VIEW)}, {"0": bytes(24)}), "no storage of numbers"),
    "another magic number": (pickled(OLD_HEAD[0], 3, {}, {}, []), "no file of torch.save"),
}


@pytest.mark.parametrize("case", PICKLES)
def test_a_pickle_is_refused(case, folder) -> None:
    data, message = PICKLES[case]
    (folder / "weights.pt").write_bytes(data)
    with refused_by_path(folder / "weights.pt", message):
        read_weight_file(folder / "weights.pt")


NO_TENSOR = "'weight' is no tensor of numbers"
BEYOND = "'weight' of shape .* lies beyond its storage of 6 numbers"
STATES = {
    "2^40 numbers": (tensor((2**20, 2**20), (2**20, 1)), BEYOND),
    "2^40 times one number": (tensor((2**20, 2**20), (0, 0)), "'weight' of shape .* would have"),
    "numbers behind": (tensor(offset=1), BEYOND),
    "a far offset": (tensor(offset=2**100), BEYOND),
    "a long stride": (tensor(stride=(2**100, 1)), BEYOND),
    "a negative length": (tensor((-2, 3)), NO_TENSOR),
    "a negative stride": (tensor(stride=(-3, 1)), NO_TENSOR),
    "a negative offset": (tensor(offset=-1), NO_TENSOR),
    "a stride too few": (tensor(stride=(1,)), NO_TENSOR),
    "a shape of texts": (tensor(("2", "3")), NO_TENSOR),
    "a shape of tuples": (tensor(((2,), 3)), NO_TENSOR),
    "no shape": (tensor(None), NO_TENSOR),
    "no offset": (tensor(offset=None), NO_TENSOR),
    "many axes": (tensor((1,) * 100_000, (1,) * 100_000), NO_TENSOR),
    "an empty array of 2^70": (tensor((0, 2**70)), NO_TENSOR),
    "a storage that is no member": (tensor(data=storage("9")), "not all numbers of storage '9'"),
    "a storage outside": (tensor(data=storage("../../../../etc/passwd")), "not all numbers of storage"),
    "a longer storage": (tensor(data=storage(numel=7)), "not all numbers of storage '0'"),
    "a storage of 2^40": (tensor(data=storage(numel=2**40)), "not all numbers of storage '0'"),
    "a storage of -6": (tensor(data=storage(numel=-6)), "no storage of numbers"),
    "a storage of another type": (tensor(data=storage(kind="DoubleStorage")), "not all numbers of storage '0'"),
    "an unknown storage": (tensor(data=storage(kind="ComplexFloatStorage")), "names torch.ComplexFloatStorage"),
    "an id that is a text": (tensor(data=Code(push("0") + b"Q")), "no storage of numbers"),
    "an id of nothing": (tensor(data=Code(push(("storage", None, "0", "cpu", 6)) + b"Q")), "no storage of numbers"),
    "an id of a list": (tensor(data=Code(push(["storage", 3, [], "cpu", 6]) + b"Q")), "no storage of numbers"),
    "no storage": (tensor(data=push(3)), NO_TENSOR),
    "bytes in an archive": (tensor(data=call(LOAD, b"abc")), "storages within storages"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_tensor_that_the_file_does_not_have_is_refused(case, folder) -> None:
    content, message = STATES[case]
    path = write_archive(folder / "weights.pt", {"weight": content, "bias": tensor()})
    with refused_by_path(path, message):
        read_weight_file(path)


@pytest.mark.parametrize("key", ["x" * 1000, "a\nb", "\x1b[31m", "\u2028"])
def test_a_name_that_no_message_can_repeat_is_refused(key, folder) -> None:
    path = write_archive(folder / "weights.pt", {key: tensor()})
    with refused_by_path(path, "too long, or no text"):
        read_weight_file(path)


def test_tensors_that_repeat_the_numbers_are_refused(folder) -> None:
    content = {f"blocks.{i}": tensor((1000,), (1,), data=storage(numel=1000)) for i in range(1000)}
    path = write_archive(folder / "weights.pt", content, {"0": bytes(4000)})
    with refused_by_path(path, "'blocks.0' of shape .* would have 4,000,000 bytes"):
        read_weight_file(path)


def test_attributes_do_not_change_what_a_name_stands_for(folder) -> None:
    """A pickle sets attributes of the functions and types of the list, before and after they are used."""
    kind = build(name("torch", "FloatStorage"), {"dtype": None, "__class__": ORDERED})
    rebuild = build(name("torch._utils", "_rebuild_tensor_v2"), {"__defaults__": (), "call": ORDERED})
    data = Code(push(("storage", kind, "0", "cpu", 6)) + b"Q")
    content = {"weight": build(call(rebuild, data, 0, (2, 3), (3, 1)), {"storage": None, "shape": (9,)})}
    path = write_archive(folder / "weights.pt", content, {"0": STATE["weight"].tobytes()})
    np.testing.assert_array_equal(read_weight_file(path).tensors["weight"].read(), STATE["weight"])


def test_settings_of_any_value_are_refused_in_one_line(folder) -> None:
    state = {"_init_kwargs": {"width": shared_dicts(90), "rate": 2**100}, "_parameters": {"a": tensor()}}
    module = persistent({"class_name": "Net", "state": {"_modules": {}, **state}})
    path = write_archive(folder / "weights.pt", {"ema": module})
    with refused_by_path(path, "expected width to be of type int, got "):
        read_weight_file(path).setting("width", int)
    assert read_weight_file(path).setting("rate", float) == 2.0**100
    path = write_folder(folder, {"rate": 10**4000})
    write_safetensors(path / "model.safetensors", {"a": ENTRY}, bytes(24))
    with refused_by_path(path, "expected rate to be of type float, got 1000"):
        read_weight_file(path).setting("rate", float)


def central_directory(data: bytes, member: str) -> int:
    """Where the entry of a member begins."""
    return data.rindex(member.encode()) - 46


def lying_size(path: Path) -> None:
    """The directory and the pickle agree on four gigabytes of numbers."""
    write_archive(path, {"weight": tensor((2**30 - 4,), (1,), data=storage(numel=2**30 - 4))})
    data = bytearray(path.read_bytes())
    struct.pack_into("<II", data, central_directory(data, "weights/data/0") + 20, 2**32 - 16, 2**32 - 16)
    path.write_bytes(data)


def lying_offset(path: Path) -> None:
    """The numbers are said to begin far behind the end."""
    write_state(path, STATE)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, central_directory(data, "weights/data/bias") + 42, 2**31)
    path.write_bytes(data)


def changed_pickle(path: Path) -> None:
    """A letter of the pickle is another."""
    write_state(path, STATE)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"weightq", b"weighty").replace(b"cpu", b"cpv", 1))


def compressed(path: Path) -> None:
    write_archive(path, {"weight": tensor()}, compression=zipfile.ZIP_DEFLATED)


def compressed_storage(path: Path) -> None:
    write_archive(path, {"weight": tensor()}, {})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data/0", bytes(24))


def bomb(path: Path) -> None:
    """A pickle of a gigabyte in a file of a megabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("weights/data.pkl", "w") as member:
        for _ in range(64):
            member.write(bytes(2**20))


def big_endian(path: Path) -> None:
    write_state(path, STATE)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("weights/byteorder", "big")


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.txt", "0")


def encrypted(path: Path) -> None:
    """A flag says that a password is needed."""
    write_state(path, STATE)
    data = bytearray(path.read_bytes())
    for start in (data.index(b"weights/data.pkl") - 24, central_directory(data, "weights/data.pkl") + 8):
        data[start] |= 1
    path.write_bytes(data)


def many_members(path: Path) -> None:
    """Without a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(2000):
            archive.writestr(f"weights/data/{i}", b"")


ARCHIVES = {
    lying_size: "ends before its numbers",
    lying_offset: "ends before its numbers",
    changed_pickle: "cannot be read .*CRC",
    compressed: "'weights/data.pkl' is compressed",
    compressed_storage: "'weights/data/0' is compressed",
    bomb: "'weights/data.pkl' is compressed",
    big_endian: "big-endian",
    other_archive: "without data.pkl",
    encrypted: "cannot be read .*encrypted",
    many_members: "without data.pkl",
}


@pytest.mark.parametrize("damage", ARCHIVES, ids=lambda damage: damage.__name__)
def test_an_archive_is_refused(damage, folder) -> None:
    path = folder / "weights.pt"
    damage(path)
    with refused_by_path(path, ARCHIVES[damage]):
        read_weight_file(path)


@pytest.mark.parametrize("name", ["state.pt", "old_state.pt", "module.pkl", "types.safetensors"])
def test_a_file_that_is_cut_short_is_refused_wherever_it_ends(name, folder) -> None:
    whole = (FILES / name).read_bytes()
    path = folder / name
    for length in {*range(0, len(whole), len(whole) // 20), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with refused_by_path(path, ""):
            read_weight_file(path)


DAMAGED = "is no whole safetensors file: "
SAFETENSORS = {
    "no JSON": (b"{'a': 3}", b"", DAMAGED + "its header is no JSON"),
    "no text": (b"\xff\xfe\xfd", b"", DAMAGED + "its header is no JSON"),
    "a list": (b"[]", b"", DAMAGED + "its header is no JSON object"),
    "deep JSON": (b'{"a":' * 100_000, b"", DAMAGED + "its header is no JSON"),
    "many digits": (b'{"a":' + b"9" * 10_000 + b"}", b"", DAMAGED + "its header is no JSON"),
    "an overlap": ({"a": ENTRY, "b": ENTRY | {"data_offsets": [8, 32]}}, bytes(32), "'b' begins at byte 8"),
    "the same bytes": ({"a": ENTRY, "b": ENTRY}, bytes(24), "'b' begins at byte 0"),
    "a gap": ({"a": ENTRY | {"data_offsets": [4, 28]}}, bytes(28), "'a' begins at byte 4"),
    "more bytes": ({"a": ENTRY}, bytes(28), "its tensors have 24 bytes, and the file 28"),
    "fewer bytes": ({"a": ENTRY}, bytes(20), "its tensors have 24 bytes, and the file 20"),
    "2^60 bytes": ({"a": ENTRY | {"shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(24), "its tensors have"),
    "bytes that are no multiple": ({"a": ENTRY | {"data_offsets": [0, 23]}}, bytes(23), "do not fit its shape"),
    "another shape": ({"a": ENTRY | {"shape": [2, 4]}}, bytes(24), "do not fit its shape"),
    "a negative length": ({"a": ENTRY | {"shape": [-2, -3]}}, bytes(24), "do not fit its shape"),
    "a length of 2^100": ({"a": ENTRY | {"shape": [0, 2**100], "data_offsets": [0, 0]}}, b"", "do not fit its shape"),
    "a float": ({"a": ENTRY | {"shape": [2.0, 3.0]}}, bytes(24), "do not fit its shape"),
    "a negative offset": ({"a": ENTRY | {"data_offsets": [-24, 0]}}, bytes(24), "'a' begins at byte -24"),
    "offsets of 10^4000": ({"a": ENTRY | {"data_offsets": [10**4000, 10**4000 + 24]}}, b"", "'a' begins at byte 1000"),
    "offsets the other way": ({"a": ENTRY | {"data_offsets": [24, 0]}}, bytes(24), "do not fit its shape"),
    "three offsets": ({"a": ENTRY | {"data_offsets": [0, 24, 24]}}, bytes(24), "'a' has not dtype, shape and"),
    "a shape that is a text": ({"a": ENTRY | {"shape": "23"}}, bytes(24), "'a' has not dtype, shape and"),
    "a type that is a list": ({"a": ENTRY | {"dtype": []}}, bytes(24), "'a' has not dtype, shape and"),
    "a number": ({"a": 3}, b"", "'a' has not dtype, shape and"),
    "an unknown type": ({"a": ENTRY | {"dtype": "F8_E4M3"}}, bytes(6), "'a' has numbers of type 'F8_E4M3'"),
    "a long name": ({"a" * 10_000: ENTRY}, bytes(24), "too long, or no text"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_a_safetensors_file_is_refused(case, folder) -> None:
    header, data, message = SAFETENSORS[case]
    path = write_safetensors(folder / "weights.safetensors", header, data)
    with refused_by_path(path, message):
        read_weight_file(path)


@pytest.mark.parametrize("length", [25, 10**7 + 1, 2**40, 2**64 - 1])
def test_a_header_that_is_too_long_is_refused(length, folder) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(22))
    with refused_by_path(path, rf"its header would have {length:,} bytes"):
        read_weight_file(path)


def write_folder(folder: Path, config: object = None, index: object = None) -> Path:
    """A diffusers folder without weights."""
    path = folder / "unet"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"} if config is None else config))
    if index is not None:
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
        write_safetensors(path / "model-1.safetensors", {"a": ENTRY}, bytes(24))
    write_safetensors(folder / "x.safetensors", {"a": ENTRY}, bytes(24))
    return path


INDICES = {
    "../x.safetensors": "names '../x.safetensors', and may name files beside it alone",
    "/etc/passwd": "names '/etc/passwd', and may name files beside it alone",
    "model-2.safetensors": "is missing, and model.safetensors.index.json names it",
    "..": "is missing",
    "": "is missing",
    "a\0b": "is missing",
    "n" * 1000: "cannot be read .*File name too long",
}


@pytest.mark.parametrize("file", INDICES, ids=lambda file: repr(file)[:30])
def test_an_index_may_name_files_beside_it_alone(file, folder) -> None:
    path = write_folder(folder, index={"weight_map": {"a": file}})
    with refused_by_path(path, INDICES[file]):
        read_weight_file(path)


@pytest.mark.parametrize("index", [{}, [], {"weight_map": []}, {"weight_map": {"a": 3}}, {"weight_map": {"a": ["x"]}}])
def test_an_index_without_files_is_refused(index, folder) -> None:
    with refused_by_path(write_folder(folder, index=index), "has no weight_map"):
        read_weight_file(folder / "unet")


def test_an_index_of_a_tensor_that_is_not_there_is_refused(folder) -> None:
    path = write_folder(folder, index={"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}})
    with refused_by_path(path, "has no tensor 'b'"):
        read_weight_file(path)


def test_a_folder_that_does_not_tell_its_weights_is_refused(folder) -> None:
    path = write_folder(folder)
    with refused_by_path(path, "has no weights"):
        read_weight_file(path)
    for file in ("one.safetensors", "two.safetensors"):
        write_safetensors(path / file, {"a": ENTRY}, bytes(24))
    with refused_by_path(path, "has 2 files of weights: one.safetensors, two.safetensors"):
        read_weight_file(path)
    (path / "config.json").unlink()
    with refused_by_path(path, "has no config.json"):
        read_weight_file(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"[]", "is no JSON object"),
        (b"{", "cannot be read"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_a_config_that_is_no_object_is_refused(config, message, folder) -> None:
    path = write_folder(folder)
    (path / "config.json").write_bytes(config)
    write_safetensors(path / "model.safetensors", {"a": ENTRY}, bytes(24))
    with refused_by_path(path, message):
        read_weight_file(path)


def test_a_pipe_is_not_waited_for(folder) -> None:
    path = write_folder(folder)
    os.mkfifo(folder / "weights.pt")
    with refused_by_path(folder / "weights.pt", "is a pipe or a device"):
        read_weight_file(folder / "weights.pt")
    os.mkfifo(path / "model.safetensors")
    with refused_by_path(path, "is a pipe or a device"):
        read_weight_file(path)
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")
    with refused_by_path(path, "has no config.json"):
        read_weight_file(path)
    with pytest.raises(UserError, match=r"^/dev/zero: is a pipe or a device"):
        read_weight_file("/dev/zero")


@pytest.mark.parametrize("file", ["weights", "weights.txt", "weights.pt", "weights.pkl", "weights.safetensors"])
@pytest.mark.parametrize("data", [b"", b"\n", b"GIF89a", b"weights\n" * 100])
def test_what_is_no_file_of_weights_is_refused(file, data, folder) -> None:
    (folder / file).write_bytes(data)
    with refused_by_path(folder / file, ""):
        read_weight_file(folder / file)


def test_a_file_that_is_not_there_is_refused(folder) -> None:
    with refused_by_path(folder / "weights.pt", "no such file"):
        read_weight_file(folder / "weights.pt")


def damage(rng: np.random.Generator, whole: bytes) -> bytes:
    """A file that is cut short, or has a few bytes that are others."""
    if rng.random() < 0.2:
        return whole[: rng.integers(len(whole))]
    data = np.frombuffer(whole, np.uint8).copy()
    places = rng.integers(len(data), size=rng.integers(1, 4))
    flipped = data[places] ^ (1 << rng.integers(8, size=len(places)))
    data[places] = flipped if rng.random() < 0.5 else rng.integers(256, size=len(places))
    return data.tobytes()


def read_damaged(path: Path) -> str:
    """The error of reading all tensors of a file; empty where they can be read."""
    try:
        for stored in read_weight_file(path).tensors.values():
            assert stored.read().shape == stored.shape
    except UserError as error:
        return str(error)
    return ""


def test_damage_ends_in_numbers_or_in_one_line(folder) -> None:
    rng = np.random.default_rng(0)
    samples = [path for path in sorted(FILES.iterdir()) if path.suffix in (".pt", ".pkl", ".safetensors")]
    errors = []
    for i in rng.integers(len(samples), size=TRIALS):
        path = folder / samples[i].name
        path.write_bytes(damage(rng, samples[i].read_bytes()))
        errors.append(read_damaged(path))
        assert not errors[-1] or errors[-1].startswith(f"{path}: ")
    assert all(is_single_line(error) and len(error) < 1500 for error in errors)
    assert 0 < errors.count("") < TRIALS
    assert {path.name for path in folder.iterdir()} <= {"harm.py", *(path.name for path in samples)}
