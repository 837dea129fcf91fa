"""Monitoring of the hosts of a run, before JAX waits for them and while the run goes on.

JAX's own client ends the process by SIGABRT where a host is missing or lost. So the hosts connect here first, by plain
sockets at the coordinator's address, and keep these connections: the first host is connected with each of the others,
both ends send a line each second, and a connection that closes or is silent for too long means a lost host.
"""

import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import NoReturn

from diffjax.errors import UserError, warn
from diffjax.utils.files import describe_error

LOST = os.EX_TEMPFAIL  # exit code of a run that lost a host: the same command goes on
_BEAT_S = 1.0
_GREETING = "diffjax host "
_LONGEST = 256  # bytes of a line
Peers = dict[int, socket.socket]


def meet(address: str, port: int, hosts: int, host: int, timeout_s: float) -> Peers:
    """Wait until all hosts are connected; returns the connections, of the first host with each other one.

    Raises UserError, on every host that is there, where one does not come within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    return _gather(port, hosts, timeout_s) if host == 0 else {0: _join(address, port, hosts, host, deadline, timeout_s)}


def _gather(port: int, hosts: int, timeout_s: float) -> Peers:
    deadline = time.monotonic() + timeout_s
    peers = Peers()
    both = socket.has_dualstack_ipv6()
    try:
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=128)
    except OSError as error:
        raise UserError(
            f"--hosts: cannot listen at port {port} ({describe_error(error)}); choose another port"
        ) from None
    with server:
        while len(peers) < hosts - 1 and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            with suppress(TimeoutError):
                _welcome(server.accept()[0], hosts, peers)
    missing = [host for host in range(1, hosts) if host not in peers]
    answer = _describe_missing(missing, hosts, timeout_s) if missing else "all are there"
    for peer in peers.values():
        with suppress(OSError):
            peer.sendall(f"{answer}\n".encode())
    if missing:
        for peer in peers.values():
            peer.close()
        raise UserError(f"--hosts: {answer}")
    return peers


def _welcome(peer: socket.socket, hosts: int, peers: Peers) -> None:
    """Keep the connection of a host with a valid greeting; close any other."""
    peer.settimeout(2.0)
    greeting = _line(peer)
    number, _, count = greeting.removeprefix(_GREETING).partition(" of ")
    known = greeting.startswith(_GREETING) and number.isdecimal() and count.isdecimal()
    if known and int(count) == hosts and 0 < int(number) < hosts and int(number) not in peers:
        peers[int(number)] = peer
        return
    if known:
        problem = "the number of hosts differs" if int(count) != hosts else f"there are two hosts {number}"
        with suppress(OSError):
            peer.sendall(f"{problem}: the first host has {hosts} hosts; give each its own number\n".encode())
    peer.close()


def _join(address: str, port: int, hosts: int, host: int, deadline: float, timeout_s: float) -> socket.socket:
    problem = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            peer = socket.create_connection((address.strip("[]"), port), timeout=left)
            break
        except OSError as error:  # it may not listen yet, and its name may not be known yet
            problem = describe_error(error)
            time.sleep(min(0.2, left))
    else:
        raise UserError(
            f"--hosts: host 0 of {hosts} does not listen at {address}:{port} within {timeout_s:g} s ({problem}); start "
            "it, check its address, or raise --hosts_timeout"
        )
    peer.settimeout(max(deadline - time.monotonic(), 0) + 2 * timeout_s)  # the first may have started later
    with suppress(OSError):
        peer.sendall(f"{_GREETING}{host} of {hosts}\n".encode())
    answer = _line(peer)
    if answer == "all are there":
        return peer
    peer.close()
    raise UserError(f"--hosts: {answer or f'host 0 of {hosts} at {address}:{port} does not answer; is it this run?'}")


def _describe_missing(missing: list[int], hosts: int, timeout_s: float) -> str:
    named = f"host {missing[0]}" if len(missing) == 1 else f"hosts {', '.join(map(str, missing))}"
    return f"{named} of {hosts} did not come within {timeout_s:g} s; start every host, or raise --hosts_timeout"


def _line(peer: socket.socket) -> str:
    """A line of printable text; empty where none comes."""
    data = b""
    with suppress(OSError):
        while not data.endswith(b"\n") and len(data) < _LONGEST:
            byte = peer.recv(1)
            if not byte:
                return ""
            data += byte
    return data.decode("ascii", "replace").strip() if data.endswith(b"\n") else ""


class Watch:
    """A thread that ends this process, with one line and exit code `LOST`, once another host is lost.

    That is one that was silent for `timeout_s` seconds, or whose connection closed without `close`. What is written by
    then is whole: files have their names only when they are.
    """

    def __init__(self, peers: Peers, hosts: int, timeout_s: float) -> None:
        self._peers = dict(peers)
        self._hosts = hosts
        self._timeout_s = timeout_s
        self._heard_s = dict.fromkeys(peers, time.monotonic())
        self._closed = threading.Event()
        for peer in peers.values():
            peer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="hosts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell the others that this host ends in order, and watch them no longer.

        Reads until each of them closes its end: a connection that is closed with unread bytes is reset, and a reset
        may drop what was sent before it.
        """
        self._closed.set()
        self._thread.join()
        self._tell("bye")
        deadline = time.monotonic() + 2 * _BEAT_S
        for peer in self._peers.values():
            with suppress(OSError):
                peer.shutdown(socket.SHUT_WR)
                while (left := deadline - time.monotonic()) > 0:
                    peer.settimeout(left)
                    if not peer.recv(4096):
                        break
            peer.close()

    def wait(self) -> None:
        """Give the thread time to end the process, where an error of JAX may come of a lost host."""
        time.sleep(self._timeout_s + 3 * _BEAT_S)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for host, peer in self._peers.items():
                selector.register(peer, selectors.EVENT_READ, host)
            beat_s = 0.0
            while not self._closed.is_set() and selector.get_map():
                for key, _ in selector.select(0.1):
                    if self._has_ended(key.data):
                        selector.unregister(key.fileobj)
                        self._peers.pop(key.data).close()
                if time.monotonic() - beat_s > _BEAT_S:
                    beat_s = time.monotonic()
                    self._tell("here")
                for host in [key.data for key in selector.get_map().values()]:
                    if time.monotonic() - self._heard_s[host] > self._timeout_s:
                        self._lose(host, f"was not heard of for {self._timeout_s:g} s")

    def _has_ended(self, host: int) -> bool:
        """Read the lines of a host; whether it ended in order."""
        try:
            data = self._peers[host].recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self._heard_s[host] = time.monotonic()
        for line in data.decode("ascii", "replace").splitlines():
            parts = line.split(maxsplit=2)
            if len(parts) == 3 and parts[0] == "lost" and parts[1].isdecimal():
                self._lose(int(parts[1]), parts[2])
        if not data:
            self._lose(host, "has ended")
        return b"bye" in data

    def _tell(self, line: str) -> None:
        for peer in self._peers.values():
            with suppress(OSError):
                peer.send(f"{line}\n".encode())

    def _lose(self, host: int, what: str) -> NoReturn:
        self._tell(f"lost {host} {what}")
        warn(
            f"host {host} of {self._hosts} {what}; its own output may say why. Start the same command again on every "
            "host: the run goes on from the last checkpoint",
            new_line=True,
        )
        os._exit(LOST)  # the main thread may wait for the lost host for ever
