"""A process that decodes batches for another one, which starts it: see `data.decoding_processes`.

It loads neither JAX nor Grain, and ends when the other process does.
"""

import queue
import signal
import socket
import threading
import traceback
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from diffjax.data.pictures import Failure
from diffjax.data.reading import RawBatch, Reader
from diffjax.errors import UserError
from diffjax.utils.object_sockets import receive_object, send_object


class Task(NamedTuple):
    """A batch to be read: the first of its rows in the order of all examples, and the indices of its examples."""

    first_row: int
    indices: Integer[np.ndarray, " b"]


class Reply(NamedTuple):
    """A batch, or why there is none: a user's mistake, or the traceback of a fault of the program.

    `failures` are examples in whose place others were read, with the reason.
    """

    batch: RawBatch | None = None
    mistake: str = ""
    fault: str = ""
    failures: tuple[Failure, ...] = ()


def serve(descriptor: int) -> None:
    """Answer the tasks that come through this socket until the other process ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they go to all processes of a group, and the first one decides
    with socket.socket(fileno=descriptor) as connection, suppress(EOFError, ConnectionError):
        try:
            reader = receive_object(connection)
        except (EOFError, ConnectionError):
            raise
        except Exception:  # of a set of the user's own, whose module is not found here
            send_object(connection, Reply(fault=traceback.format_exc()))
            return
        assert isinstance(reader, Reader)
        reader.collect_failures()
        tasks: queue.SimpleQueue[object] = queue.SimpleQueue()  # read while a reply is sent, or both sides might wait
        threading.Thread(target=_receive_tasks, args=(connection, tasks), daemon=True).start()
        while isinstance(task := tasks.get(), Task):
            send_object(connection, answer(reader, task))


def _receive_tasks(connection: socket.socket, tasks: queue.SimpleQueue[object]) -> None:
    """Pass the tasks on, and None once the other process has ended."""
    with suppress(EOFError, OSError):
        while True:
            tasks.put(receive_object(connection))
    tasks.put(None)


def answer(reader: Reader, task: Task) -> Reply:
    """The batch of a task, or what kept it from being read."""
    try:
        batch = reader.read_batch(task.first_row, task.indices)
    except UserError as mistake:
        return Reply(mistake=str(mistake), failures=reader.take_failures())
    except Exception:  # reported by the other process
        return Reply(fault=traceback.format_exc(), failures=reader.take_failures())
    return Reply(batch, failures=reader.take_failures())
