"""Downloads against a server on this machine: whole, broken off, resumed, wrong, slow, absent; and the names that find them."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import steepest
from steepest import downloads, sources
from steepest.cli import main
from steepest.sources import Remote

CONTENT = np.random.default_rng(0).bytes(300_000)


@dataclass
class Server:
    """A server of one file that can be told to misbehave."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)  # of each coming request: bytes after which the line breaks
    statuses: list[int] = field(default_factory=list)  # of each coming request: what is answered instead
    ranges: bool = True
    says_length: bool = True
    shift: int = 0  # of the range it says it answers with
    pause_s: float = 0.0  # after each 1,000 bytes
    silent: threading.Event = field(default_factory=threading.Event)
    asked: list[str | None] = field(default_factory=list)

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        told: Server = self.server.told  # type: ignore[attr-defined]
        told.asked.append(self.headers["Range"])
        self.close_connection = True
        if told.silent.is_set():
            time.sleep(2)
            return
        if told.statuses:
            self.send_error(told.statuses.pop(0))
            return
        content = told.files.get(self.path[1:])
        if content is None:
            self.send_error(404)
            return
        begin = 0
        if told.ranges and self.headers["Range"]:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin + told.shift}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if told.says_length:
            self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("Connection", "close")
        self.end_headers()
        body = content[begin:]
        body = body[: told.breaks.pop(0)] if told.breaks else body
        for at in range(0, len(body), 1000 if told.pause_s else 2**20):
            self.wfile.write(body[at : at + (1000 if told.pause_s else 2**20)])
            time.sleep(told.pause_s)


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server, the one set `mnist` of one file that lies there, and short waits."""
    with Quiet(("127.0.0.1", 0), Handler) as running:
        told = Server(running.server_port, {"a.bin": CONTENT})
        running.told = told  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        monkeypatch.setattr(downloads, "WAIT_S", 0.01)
        monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path / "cache"))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(sources.DOWNLOADS, "mnist", (remote(told),))
        yield told
        running.shutdown()


def remote(server: Server, content: bytes = CONTENT, *others: str) -> Remote:
    return Remote((*others, server.address("a.bin")), len(content), hashlib.sha256(content).hexdigest())


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_arrives_whole_and_once(server: Server, tmp_path: Path) -> None:
    folder = steepest.download("mnist")
    assert folder == tmp_path / "cache" / "data" / "mnist"
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert left(folder) == ["a.bin"]
    assert steepest.download("mnist") == folder
    assert server.asked == [None]
    assert steepest.download("mnist", to="here") == Path("here")
    assert left(Path("here")) == ["a.bin"]


@pytest.mark.parametrize("says_length", [True, False])
def test_a_broken_line_is_resumed_where_it_broke(server: Server, says_length: bool) -> None:
    server.breaks, server.says_length = [100_000, 50_000, 0], says_length
    folder = steepest.download("mnist")
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]


def test_what_a_process_before_left_is_gone_on_with(server: Server) -> None:
    Path("to").mkdir()
    Path("to/a.bin.part").write_bytes(CONTENT[:200_000])
    steepest.download("mnist", to="to")
    assert server.asked == ["bytes=200000-"]
    assert Path("to/a.bin").read_bytes() == CONTENT
    assert left(Path("to")) == ["a.bin"]


@pytest.mark.parametrize("before", [b"something else" * 9000, b"x" * 300_000, b"x" * 300_001])
def test_a_wrong_beginning_is_thrown_away(server: Server, before: bytes) -> None:
    Path("to").mkdir()
    Path("to/a.bin.part").write_bytes(before)
    steepest.download("mnist", to="to")
    assert Path("to/a.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_again(server: Server) -> None:
    server.ranges, server.breaks = False, [100_000]
    steepest.download("mnist", to="to")
    assert Path("to/a.bin").read_bytes() == CONTENT


def test_a_line_that_stays_broken_keeps_what_came(server: Server) -> None:
    server.breaks = [100_000, 0, 0, 0]
    with pytest.raises(steepest.InputError, match=r"the line broke after 100,000 of 300,000 bytes\); what came, 100,000 bytes"):
        steepest.download("mnist", to="to")
    assert left(Path("to")) == ["a.bin.part"]
    steepest.download("mnist", to="to")
    assert left(Path("to")) == ["a.bin"]


def test_a_wrong_file_leaves_nothing(server: Server) -> None:
    server.files["a.bin"] = bytes(len(CONTENT))
    with pytest.raises(steepest.InputError, match=r"a.bin could not be downloaded .*: not the published file"):
        steepest.download("mnist", to="to")
    assert left(Path("to")) == []


@pytest.mark.parametrize(("length", "says_length"), [(299_999, True), (300_001, True), (300_001, False), (10**7, False)])
def test_a_file_of_another_length(server: Server, length: int, says_length: bool) -> None:
    server.files["a.bin"], server.says_length = (CONTENT * 40)[:length], says_length
    with pytest.raises(steepest.InputError, match=r"it (offers|sends more than)"):
        steepest.download("mnist", to="to")
    assert left(Path("to")) == []


def test_an_answer_with_another_range(server: Server) -> None:
    server.breaks, server.shift = [1000], 5
    with pytest.raises(steepest.InputError, match="another range than was asked for"):
        steepest.download("mnist", to="to")


def test_what_is_not_there_is_looked_for_elsewhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.DOWNLOADS, "mnist", (Remote((server.address("gone"),), 5, "0" * 64),))
    with pytest.raises(steepest.InputError, match=r"gone: HTTP 404 Not Found\); check the network"):
        steepest.download("mnist", to="to")
    assert server.asked == [None], "nothing is gained by asking again"
    monkeypatch.setitem(sources.DOWNLOADS, "mnist", (remote(server, CONTENT, server.address("elsewhere/a.bin")),))
    steepest.download("mnist", to="to")
    assert left(Path("to")) == ["a.bin"]


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.statuses = [503, 429]
    steepest.download("mnist", to="to")
    server.statuses = [503] * 9
    with pytest.raises(steepest.InputError, match="HTTP 503"):
        steepest.download("mnist", to="other")
    assert len(server.asked) == 3 + downloads.TRIES


def test_nobody_listens(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, reason in (("http://127.0.0.1:1/a", "Connection refused"), ("http://nowhere.invalid/a", "")):
        monkeypatch.setitem(sources.DOWNLOADS, "mnist", (Remote((address,), 5, "0" * 64),))
        with pytest.raises(steepest.InputError, match=f"{reason}.*; check the network, then repeat") as told:
            steepest.download("mnist", to="to")
        assert "\n" not in str(told.value)
    assert left(Path("to")) == []


def test_a_silent_server_and_a_crawling_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.2)
    server.silent.set()
    with pytest.raises(steepest.InputError, match=r"no answer for 0.2 s"):
        steepest.download("mnist", to="to")
    server.silent.clear()
    server.pause_s = 0.5
    with pytest.raises(steepest.InputError, match=r"nothing came for 0.2 s\); what came, 3,000 bytes, is kept"):
        steepest.download("mnist", to="to")
    server.pause_s = 0.05
    monkeypatch.setattr(downloads, "SLOWEST", 10**6)
    with pytest.raises(steepest.InputError, match=r"only \d,\d\d\d bytes came in 0 s"):
        steepest.download("mnist", to="to")
    server.pause_s = 0.0
    steepest.download("mnist", to="to")
    assert Path("to/a.bin").read_bytes() == CONTENT


def test_a_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(downloads.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
        with pytest.raises(steepest.InputError, match="no space left in to for mnist; make room, or name another folder: --to"):
            steepest.download("mnist", to="to")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.os, "fsync", full)
    with pytest.raises(steepest.InputError, match="no space left in to"):
        steepest.download("mnist", to="to")
    assert left(Path("to")) == []


def test_folders_that_cannot_be_written_to(server: Server) -> None:
    Path("file").write_text("here")
    for to in ("file", "file/inside", "/proc/steepest"):
        with pytest.raises(steepest.InputError, match=r"cannot be written to .*; name another: --to FOLDER"):
            steepest.download("mnist", to=to)


def test_a_file_of_the_users_own_is_not_written_over(server: Server) -> None:
    Path("to").mkdir()
    Path("to/a.bin").write_bytes(b"mine")
    with pytest.raises(steepest.InputError, match=r"a.bin is there, but not the published file"):
        steepest.download("mnist", to="to")
    assert Path("to/a.bin").read_bytes() == b"mine"


def test_one_process_at_a_time(server: Server) -> None:
    Path("to").mkdir()
    with downloads._held(Path("to/a.bin.part")):  # noqa: SIM117
        with pytest.raises(steepest.InputError, match="another process is downloading it"):
            steepest.download("mnist", to="to")


def test_ctrl_c_keeps_what_came(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(downloads.Progress, "update", stop)
        with pytest.raises(steepest.Interrupted, match="what came is kept in to: repeat to go on"):
            steepest.download("mnist", to="to")
    assert left(Path("to")) == ["a.bin.part"]
    steepest.download("mnist", to="to")
    assert Path("to/a.bin").read_bytes() == CONTENT


# -- names ------------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def small(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Fashion-MNIST, small: the four files, under their names."""
    rng = np.random.default_rng(0)
    found = []
    for part, rows in (("train", 60), ("t10k", 20)):
        for what, array in (
            ("images-idx3", rng.integers(0, 256, (rows, 4, 4))), ("labels-idx1", np.arange(rows) % 2),
        ):  # fmt: skip
            name, content = f"{part}-{what}-ubyte.gz", idx(array)
            server.files[name] = content
            found.append(Remote((server.address(name),), len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setitem(sources.DOWNLOADS, "fashion-mnist", tuple(found))
    return server


def test_a_name_says_how_to_get_it_and_then_finds_it(small: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(steepest.InputError, match=r"fashion-mnist is not downloaded yet .*: steepest download fashion-mnist"):
        steepest.task("fashion-mnist")
    assert main(["fit", "fashion-mnist"]) == 2
    assert "steepest download fashion-mnist" in capsys.readouterr().err
    assert main(["download", "fashion-mnist", "--quiet"]) == 0
    folder, after = capsys.readouterr().out.splitlines()
    assert (Path(folder).name, after) == ("fashion-mnist", "next: steepest fit fashion-mnist")
    data = steepest.task("fashion-mnist").data
    assert (data.name, len(data), data.size("test"), data.form.shape) == ("fashion-mnist", 80, 20, (1, 4, 4))
    assert data.origin == {"source": "fashion-mnist", "options": {}}
    assert main(["download", "fashion-mnist", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "fashion-mnist", "folder": folder}
    assert main(["fit", "fashion-mnist", "--epochs", "1", "--model", "linear_model()", "--quiet"]) == 0
    Path(folder, "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(steepest.InputError, match="is not downloaded yet"):
        steepest.task("fashion-mnist")


def test_a_folder_of_that_name_comes_first(small: Server) -> None:
    steepest.download("fashion-mnist", to="mnist")
    assert len(steepest.task("mnist").data) == 80


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "fashion"]) == 2
    assert "unknown data set to download 'fashion'; did you mean 'fashion-mnist'?" in capsys.readouterr().err
    assert main(["fit", "cifar10"]) == 2
    assert "did you mean 'cifar-10'?" in capsys.readouterr().err


def test_names_are_checked_without_heavy_imports() -> None:
    import subprocess
    import sys

    check = "import steepest.sources, steepest.downloads, sys; "
    check += "print([name for name in ('torch', 'numpy', 'polars', 'PIL') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_checksums_are_whole_and_addresses_belong_to_their_files() -> None:
    for remotes in sources.DOWNLOADS.values():
        for one in remotes:
            assert len(bytes.fromhex(one.sha256)) == 32
            assert {address.rpartition("/")[2] for address in one.addresses} == {one.name}
    assert sum(one.size for one in sources.DOWNLOADS["mnist"]) == 11_594_722


@pytest.mark.data
def test_the_published_labels_of_fashion_mnist(real_data: Path) -> None:
    """The label files here are the published ones byte for byte; the images here were compressed anew."""
    for one in sources.DOWNLOADS["fashion-mnist"]:
        if "labels" in one.name:
            assert downloads._digest(real_data / "fashion_mnist" / one.name) == one.sha256
