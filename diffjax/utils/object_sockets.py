"""Python objects over a socket between two processes of this user; arrays are sent as they lie in memory."""

import pickle
import socket
import struct

import cloudpickle

_HEADER = struct.Struct("<QQ")  # bytes of the pickle, number of the buffers outside of it
_LENGTH = struct.Struct("<Q")


def pack(value: object) -> bytes:
    """An object as `send_packed` takes it; functions of the main module travel with it, not by their names."""
    return cloudpickle.dumps(value)


def send_packed(connection: socket.socket, packed: bytes) -> None:
    """Send what `pack` returned."""
    connection.sendall(_HEADER.pack(len(packed), 0))
    connection.sendall(packed)


def send_object(connection: socket.socket, value: object) -> None:
    """Send an object; its arrays are not copied before."""
    buffers: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [buffer.raw() for buffer in buffers]
    lengths = b"".join(_LENGTH.pack(part.nbytes) for part in parts)
    connection.sendall(_HEADER.pack(len(packed), len(parts)) + lengths + packed)
    for part in parts:
        connection.sendall(part)


def receive_object(connection: socket.socket) -> object:
    """The next object. Raises EOFError where the other side has ended."""
    size, count = _HEADER.unpack(_receive(connection, _HEADER.size))
    lengths = [length for (length,) in _LENGTH.iter_unpack(_receive(connection, _LENGTH.size * count))]
    packed = _receive(connection, size)
    buffers = [_receive(connection, length) for length in lengths]
    return pickle.loads(packed, buffers=buffers)


def _receive(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError("the other process has ended")
        view = view[count:]
    return data
