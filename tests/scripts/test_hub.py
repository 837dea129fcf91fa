"""Weights by an address of the hub, from a server of this machine that answers as the hub does."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from safetensors.numpy import save

import diffjax as dj
from tests.published.golden_files import GOLDEN, read_case

COMMIT = "a" * 40
ROOT = Path(__file__).parents[2]
FILES = {}  # by path: owner/name/file


class Hub(BaseHTTPRequestHandler):
    """Lists the files of a repository, and sends them."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path.startswith("api/models/"):
            repository = "/".join(path.split("/")[2:4])
            names = [name.removeprefix(f"{repository}/") for name in FILES if name.startswith(f"{repository}/")]
            listing = [{"rfilename": name} for name in names]
            content = json.dumps({"id": repository, "sha": COMMIT, "siblings": listing}).encode()
            self._send(200 if names else 404, content, body)
            return
        owner, name, _, _, *rest = path.split("/")
        content = FILES.get("/".join([owner, name, *rest]))
        self._send(404 if content is None else 200, content or b"", body)

    def _send(self, status: int, content: bytes, body: bool) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    tensors = {name: tensor.read() for name, tensor in read_case(GOLDEN / "sit_64.npz").file.tensors.items()}
    FILES["ours/sit/SiT-small.safetensors"] = save(tensors)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def load_from(hub: str, cache: Path, address: str) -> subprocess.CompletedProcess[str]:
    """The family of the weights at an address, in a process whose hub is the server."""
    code = f"import diffjax as dj; print(dj.load({address!r}).info.origin.family)"
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(cache), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, env=environment, cwd=ROOT, check=False
    )


def test_a_file_of_the_hub_is_loaded(hub, tmp_path) -> None:
    ended = load_from(hub, tmp_path, "hf://ours/sit/SiT-small.safetensors")
    assert ended.stdout.strip() == "SiT", ended.stderr[-2000:]


def test_what_is_not_there_is_one_line(hub, tmp_path) -> None:
    for address in ("hf://ours/none/x.safetensors", "hf://ours"):
        ended = load_from(hub, tmp_path, address)
        assert ended.returncode
        assert f"UserError: {address}: " in ended.stderr


def test_without_the_client_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(dj.UserError, match="extra hub"):
        dj.load("hf://ours/sit")
