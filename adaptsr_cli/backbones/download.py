"""Download of one file: resumed after a break, checked by SHA-256, and given its final name only when complete.

Own code, since the libraries at hand do not resume: `pooch` and `torch.hub` start a broken download anew, and the
files of the catalogue lie on servers that `huggingface_hub` does not serve. The only place that opens connections.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from adaptsr_cli import __version__
from adaptsr_cli.errors import DownloadError
from adaptsr_cli.io.atomic import write_text
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.progress import Progress

_CHUNK_BYTES: Final = 1 << 16
_TIMEOUT_S: Final = 30.0
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 1.0  # doubled after every failed attempt
_RETRY_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Broken(Exception):
    """The transfer ended early or the server had a temporary fault: worth another attempt."""


def fetch(url: str, target: Path, *, sha256: str | None, size_bytes: int | None, progress: Progress) -> str:
    """Download `url` to `target`, or checks the file that is there already.

    What was transferred before a break lies in ``<target>.part`` and is continued. Where no checksum is published,
    that of the first download is kept in ``<target>.sha256`` and checked from then on.

    Args:
        url: An ``http`` or ``https`` address.
        target: The final place.
        sha256: The expected checksum, 64 hexadecimal digits; None where none is published.
        size_bytes: The expected size.
        progress: Takes the bar and the notes.

    Returns:
        The SHA-256 of the file.

    Raises:
        DownloadError: The file cannot be fetched, or is not the expected one; then nothing is left under `target`.
    """
    if target.is_file():
        return check_file(target, sha256)
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url} is not a web address", "use https://")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if sha256 is None:
            part.unlink(missing_ok=True)  # nothing would tell that it is the beginning of another file
        _transfer(url, part, target, size_bytes, progress)
        digest = file_sha256(part)
        if sha256 is not None and digest != sha256.lower():
            part.unlink()
            raise DownloadError(
                f"{url}: the file has SHA-256 {digest}, expected was {sha256}",
                "nothing was kept; try again, and do not use this file if it happens again",
            )
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.replace(target)
    except OSError as error:
        raise DownloadError(
            f"cannot write {target}: {error.strerror or error}",
            "check the permissions and the free space, or choose another folder by `weights_dir`",
        ) from error
    if sha256 is None:
        write_text(_sidecar(target), f"{digest}  {target.name}\n")
        progress.note(
            f"{target.name}: SHA-256 {digest}, no published checksum to compare with; it is kept and checked from now"
        )
    return digest


def check_file(target: Path, sha256: str | None) -> str:
    """Compare a file that is there with the expected checksum, or with the one kept from its download.

    Returns:
        The SHA-256 of the file.

    Raises:
        DownloadError: It is another file, or cannot be read.
    """
    sidecar = _sidecar(target)
    try:
        digest = file_sha256(target)
        kept = sidecar.read_text(encoding="utf-8").split()[:1] if sidecar.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DownloadError(f"cannot read {target} or its checksum: {error}", "delete both and fetch again") from error
    expected = sha256.lower() if sha256 is not None else next(iter(kept), None)
    if expected is not None and digest != expected:
        raise DownloadError(
            f"{target} has SHA-256 {digest}, expected was {expected}", "delete it; it will be fetched again"
        )
    return digest


def _sidecar(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _transfer(url: str, part: Path, target: Path, size_bytes: int | None, progress: Progress) -> None:
    """Fill `part`, in several attempts where the connection breaks."""
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S * 2 ** (attempt - 1))
        try:
            _attempt(url, part, target, size_bytes, progress)
            return
        except _Broken as error:
            reason = str(error)
    kept = f" ({part.stat().st_size:,} bytes are kept and will be continued)" if part.is_file() else ""
    raise DownloadError(
        f"cannot fetch {url}: {reason}{kept}", f"check the connection and run it again, or put the file at {target}"
    )


def _attempt(url: str, part: Path, target: Path, size_bytes: int | None, progress: Progress) -> None:
    """One request; continues `part` where the server can."""
    start = part.stat().st_size if part.is_file() else 0
    if size_bytes is not None and start == size_bytes:
        return  # broke off between the last byte and the check
    headers = {"User-Agent": f"adaptsr/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                start = 0  # the server sends the whole file
            elif not _continues(response, start):
                raise _Broken("the server sent another part than was asked for")
            length = response.headers.get("Content-Length")
            total = start + int(length) if length is not None and length.isdigit() else None
            _refuse_other_file(url, response, total, size_bytes)
            received = _receive(response, part, target.name, start, total, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            part.unlink()  # it is longer than the file: no beginning of it
            raise _Broken("the beginning kept from before does not belong to this file") from error
        if error.code in _RETRY_STATUS:
            raise _Broken(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(
            f"cannot fetch {url}: the server answers {error.code} {error.reason}",
            f"the file may have moved; get it by hand and put it at {target}",
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _Broken(str(cause) or type(cause).__name__) from error
    if total is not None and received != total:
        raise _Broken(f"the transfer broke off after {received:,} of {total:,} bytes")


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether a partial answer goes on at byte `start`."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == start


def _refuse_other_file(url: str, response: http.client.HTTPResponse, total: int | None, size_bytes: int | None) -> None:
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(f"{url} is a web page, not a file", "get the file by hand from there")
    if size_bytes is not None and total is not None and total != size_bytes:
        raise DownloadError(
            f"{url} offers {total:,} bytes, expected were {size_bytes:,}",
            "another file lies there now; get the right one by hand",
        )


def _receive(
    response: http.client.HTTPResponse,
    part: Path,
    name: str,
    start: int,
    total: int | None,
    progress: Progress,
) -> int:
    """Write the body to `part` from byte `start` on; the size of `part` afterwards."""
    received = start
    with part.open("ab" if start else "wb") as handle, progress.task(name, total, unit="B") as task:
        task.skip(start)
        while chunk := response.read(_CHUNK_BYTES):
            handle.write(chunk)
            received += len(chunk)
            task.advance(len(chunk))
    return received
