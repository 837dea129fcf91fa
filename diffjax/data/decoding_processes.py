"""Batches decoded by processes of their own, in the order of their steps.

Each process is a plain Python that loads neither JAX nor a device. (Grain's own worker processes import JAX where it is
installed, which costs each a second and over a hundred megabytes.) Batches come through sockets, so that there is no
shared memory to run out of or to be left behind, and a process ends when the other side of its socket does.
"""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

from diffjax.data.decoding_process import Reply, Task
from diffjax.data.reading import RawBatch, Reader
from diffjax.errors import UserError
from diffjax.utils.files import describe_error
from diffjax.utils.object_sockets import pack, receive_object, send_object, send_packed

END_S = 5.0  # that a process may take to end, before it is killed
TaskOf = Callable[[int], Task]  # of each step


def decode_in_processes(
    reader: Reader, task_of: TaskOf, start_step: int, count: int, ahead: int
) -> Generator[RawBatch, None, None]:
    """The batches from `start_step` on, decoded by `count` processes, each with `ahead` in advance and one at work.

    Raises `UserError` where an example cannot be read, as reading it here would, and where a process cannot be started
    or is killed.
    """
    packed = _pack(reader)
    processes: list[_Process] = []
    step = start_step
    try:
        for number in range(count):
            processes.append(_Process(packed, task_of, start_step + number, count, ahead + 1))  # one is being made
        while True:
            reply = processes[(step - start_step) % count].next_reply()
            reader.report(reply.failures)
            if reply.mistake:
                raise UserError(reply.mistake)
            if reply.batch is None:
                raise RuntimeError(f"a process that decodes pictures failed:\n{reply.fault}")
            yield reply.batch
            step += 1
    finally:
        for process in processes:
            process.end()
        for process in processes:
            process.wait()


def _pack(reader: Reader) -> bytes:
    try:
        return pack(reader)
    except Exception as error:  # of a set of the user's own, which holds what cannot be pickled
        problem = f"the data set cannot be sent to other processes ({type(error).__name__}: {error})"
        raise UserError(f"data.workers: {problem}; set 0, for threads") from None


class _Process:
    """A process, and the thread that sends it tasks and gathers its batches: every `stride`-th step from `step` on.

    At most `slots` batches are asked for and not taken yet.
    """

    def __init__(self, packed: bytes, task_of: TaskOf, step: int, stride: int, slots: int) -> None:
        ours, theirs = socket.socketpair()
        program = f"from diffjax.data.decoding_process import serve; serve({theirs.fileno()})"
        command = [sys.executable, "-P", "-c", program]  # not from the working directory before all others
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)  # so that it finds the same modules
        env = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}  # for sets of the user's own that load JAX
        with theirs:
            try:
                self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=env)
            except OSError as error:
                ours.close()
                raise UserError(
                    f"data.workers: no process can be started ({describe_error(error)}); lower it"
                ) from None
        self._connection = ours
        self._replies: queue.SimpleQueue[Reply | Exception] = queue.SimpleQueue()
        self._slots = threading.Semaphore(slots)
        self._ended = False
        arguments = (packed, task_of, step, stride)
        threading.Thread(target=self._gather, args=arguments, daemon=True).start()

    def next_reply(self) -> Reply:
        """The reply to the next task. Raises `UserError` where the process is gone."""
        reply = self._replies.get()
        if isinstance(reply, Exception):
            raise reply
        self._slots.release()
        return reply

    def end(self) -> None:
        """Have the process end, and the thread with it."""
        self._ended = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._slots.release()  # for which the thread may wait

    def wait(self) -> None:
        """Wait for the end, and kill what does not end."""
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection.close()

    def _gather(self, packed: bytes, task_of: TaskOf, step: int, stride: int) -> None:
        try:
            send_packed(self._connection, packed)
            pending = 0
            while not self._ended:
                # A second task is sent before the first is done, so that the process need not wait for this thread.
                while pending < 2 and self._slots.acquire(blocking=not pending) and not self._ended:
                    send_object(self._connection, task_of(step))
                    step += stride
                    pending += 1
                reply = receive_object(self._connection)
                pending -= 1
                assert isinstance(reply, Reply)
                self._replies.put(reply)
        except (EOFError, OSError):
            self._replies.put(UserError(f"data.workers: {self._describe_end()}"))
        except Exception as error:
            self._replies.put(error)

    def _describe_end(self) -> str:
        """How the process ended."""
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"a process that decodes pictures {how}; if memory is short, lower data.workers or data.ahead_mb"
