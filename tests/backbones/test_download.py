"""Downloads against a server on this machine that breaks off, ignores ranges, and lies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

import pytest

from adaptsr_cli.backbones import download
from adaptsr_cli.backbones.download import fetch
from adaptsr_cli.errors import DownloadError
from adaptsr_cli.progress import Silent, SilentTask

BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `body`; a test sets how badly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.ranges = True  # whether ranges are understood
        self.breaks_after: list[int] = []  # for each coming answer: after how many bytes it breaks off
        self.statuses: list[int] = []  # for each coming answer: an error instead
        self.kind = "application/octet-stream"
        self.shift = 0  # by how much a range answer is wrong
        self.asked: list[str | None] = []  # the Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = 0
        if wanted and server.ranges:
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            assert match is not None
            start = int(match[1]) + server.shift
            if start >= len(server.body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        else:
            self.send_response(200)
        rest = server.body[start:]
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.breaks_after.pop(0)] if server.breaks_after else rest)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)
    running = Server()
    thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


class Counting(Silent):
    """Counts the bytes that the bar was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.totals: list[int | None] = []
        self.done = 0

    def task(self, description: str, total: int | None, *, unit: str = "it") -> SilentTask:
        self.totals.append(total)
        self.done = 0
        return Count(self)


class Count(SilentTask):
    def __init__(self, owner: Counting) -> None:
        self.owner = owner

    def advance(self, steps: int = 1) -> None:
        self.owner.done += steps

    def skip(self, steps: int) -> None:
        self.owner.done += steps

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    progress = Counting()
    target = tmp_path / "new folder" / "weights.pth"
    assert fetch(server.url, target, sha256=SHA256, size_bytes=len(BODY), progress=progress) == SHA256
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]
    assert (progress.totals, progress.done) == ([len(BODY)], len(BODY))
    assert server.asked == [None]


def test_a_file_that_is_there_is_checked_and_not_fetched(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    target.write_bytes(BODY)
    assert fetch(server.url, target, sha256=SHA256.upper(), size_bytes=None, progress=Silent()) == SHA256
    target.write_bytes(BODY[:-1])
    with pytest.raises(DownloadError, match="expected was"):
        fetch(server.url, target, sha256=SHA256, size_bytes=None, progress=Silent())
    assert server.asked == []


def test_a_broken_transfer_is_continued_at_once(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [100_000, 50_000]
    progress = Counting()
    fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=None, progress=progress)
    assert (tmp_path / "weights.pth").read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert (progress.totals[-1], progress.done) == (len(BODY), len(BODY))


def test_a_broken_transfer_is_continued_by_the_next_call(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [1000, 1000, 1000]
    target = tmp_path / "weights.pth"
    with pytest.raises(DownloadError, match="broke off after 3,000 of 256,000") as caught:
        fetch(server.url, target, sha256=SHA256, size_bytes=None, progress=Silent())
    assert "3,000 bytes are kept" in caught.value.message
    assert not target.exists()
    fetch(server.url, target, sha256=SHA256, size_bytes=None, progress=Silent())
    assert server.asked[-1] == "bytes=3000-"
    assert target.read_bytes() == BODY


def test_a_whole_part_needs_no_connection(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(BODY)
    fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=len(BODY), progress=Silent())
    assert (tmp_path / "weights.pth").read_bytes() == BODY
    assert server.asked == []


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.breaks_after = [100_000]
    fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=None, progress=Silent())
    assert server.asked == [None, "bytes=100000-"]
    assert (tmp_path / "weights.pth").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(BODY + b"x")
    fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=None, progress=Silent())
    assert server.asked == [f"bytes={len(BODY) + 1}-", None]
    assert (tmp_path / "weights.pth").read_bytes() == BODY


def test_another_range_than_asked_for_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(BODY[:1000])
    server.shift = 7
    with pytest.raises(DownloadError, match="another part"):
        fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=None, progress=Silent())


def test_a_wrong_file_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.body = BODY[:-1] + b"!"
    with pytest.raises(DownloadError, match="expected was") as caught:
        fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=len(BODY), progress=Silent())
    assert "\n" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_is_not_fetched(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"offers 256,000 bytes, expected were 1,000"):
        fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=1000, progress=Silent())
    assert list(tmp_path.iterdir()) == []


def test_a_login_page_is_not_taken_for_weights(server: Server, tmp_path: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="web page"):
        fetch(server.url, tmp_path / "weights.pth", sha256=None, size_bytes=None, progress=Silent())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(DownloadError, match="404 Not Found") as caught:
        fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=None, progress=Silent())
    assert str(tmp_path / "weights.pth") in caught.value.hint
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    fetch(server.url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=None, progress=Silent())
    assert len(server.asked) == 3


def test_no_server_is_one_line(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="refused") as caught:
        fetch(url, tmp_path / "weights.pth", sha256=SHA256, size_bytes=None, progress=Silent())
    assert "check the connection" in caught.value.hint


def test_an_unknown_checksum_is_kept_and_checked_the_second_time(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    progress = Silent()
    assert fetch(server.url, target, sha256=None, size_bytes=None, progress=progress) == SHA256
    assert SHA256 in progress.notes[0]
    assert (tmp_path / "weights.pth.sha256").read_text() == f"{SHA256}  weights.pth\n"
    assert fetch(server.url, target, sha256=None, size_bytes=None, progress=progress) == SHA256
    target.write_bytes(BODY + b"!")
    with pytest.raises(DownloadError, match="expected was"):
        fetch(server.url, target, sha256=None, size_bytes=None, progress=progress)
    assert len(server.asked) == 1


def test_without_a_checksum_an_old_part_is_not_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(b"the beginning of something else")
    fetch(server.url, tmp_path / "weights.pth", sha256=None, size_bytes=None, progress=Silent())
    assert (tmp_path / "weights.pth").read_bytes() == BODY


def test_only_web_addresses_are_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    with pytest.raises(DownloadError, match="not a web address"):
        fetch((tmp_path / "secret").as_uri(), tmp_path / "w", sha256=None, size_bytes=None, progress=Silent())


def test_a_folder_that_cannot_be_made_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot write"):
        fetch(server.url, tmp_path / "file" / "w", sha256=SHA256, size_bytes=None, progress=Silent())
