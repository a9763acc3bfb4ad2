"""Download one large file over HTTP, and resume after a broken connection or a killed process.

The bytes received so far are in ``FILE.part``. The ETag or date of the server's file is in
``FILE.part.validator``; with it, the server can tell whether its file has changed since.
"""

import http.client
import logging
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from mdkd import __version__
from mdkd.errors import UserError

CHUNK = 1 << 20  # bytes
ATTEMPTS = 5  # failed attempts in a row; an attempt fails if it adds less than one new CHUNK
WAIT_S = 1.0  # after an attempt with progress; doubled after each failed attempt in a row
TIMEOUT_S = 60.0  # without any data
REPORT_S = 5.0  # between two progress messages
TRANSIENT = (408, 425, 429)  # HTTP errors that may pass, so we try again; also all >= 500

log = logging.getLogger(__name__)


class _BrokenError(Exception):
    """The connection failed, but another attempt may succeed."""


def fetch(url: str, file: Path, size: int) -> None:
    """Download ``file`` of ``size`` bytes. Resumes the part that an earlier call has received.

    Raises:
        UserError: the server does not have the file, its file has another size, or the
            connection breaks again and again.
    """
    part = _part(file)
    longest, failures = _size(part), 0
    while _size(part) != size:
        try:
            _receive(url, part, size)
        except _BrokenError as error:
            # Compare with the longest part so far: a server that always restarts from byte 0 and
            # then breaks off makes no progress.
            failures = 0 if _size(part) >= longest + CHUNK else failures + 1
            longest = max(longest, _size(part))
            if failures == ATTEMPTS:
                raise UserError(f"{url}: {error}") from None
            wait_s = WAIT_S * 2**failures
            log.warning("%s: %s; next attempt in %.0f s", url, error, wait_s)
            time.sleep(wait_s)
    part.replace(file)
    _validator(part).unlink(missing_ok=True)


def received(file: Path) -> int:
    """The number of bytes of ``file`` that are on disk, whether it is complete or not."""
    return max(_size(file), _size(_part(file)))


def _receive(url: str, part: Path, size: int) -> None:
    """One attempt: request the missing bytes, or start again if the server's file has changed."""
    request = urllib.request.Request(url, headers={"User-Agent": f"mdkd/{__version__}"})
    start, validator = _size(part), _validator(part)
    known = validator.read_text(encoding="utf-8") if validator.exists() else ""
    if 0 < start < size:
        request.add_header("Range", f"bytes={start}-")
        if known:  # If-Range: if the file has changed, the server sends all of it
            request.add_header("If-Range", known)
    with _open(request, part) as response:
        if 0 < start < size and response.status == 206:
            etag = response.headers.get("ETag")
            changed = known.startswith('"') and etag not in (None, known)
            if (
                changed
                or response.headers.get("Content-Range") != f"bytes {start}-{size - 1}/{size}"
            ):
                part.unlink()
                raise _BrokenError("the server sent another file or range than requested")
        else:
            start = 0
            _start(url, part, size, response)
        _append(url, part, size, response)


def _start(url: str, part: Path, size: int, response: Any) -> None:
    """Start an empty part file and save the server's validator (ETag or date) beside it."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) != size:  # if it is no number, the bytes are counted
        raise UserError(f"{url}: the server's file has {int(length):,} bytes, expected {size:,}")
    part.write_bytes(b"")
    etag = response.headers.get("ETag", "")
    strong = etag if etag.startswith('"') else ""  # If-Range does not accept weak ETags
    known = strong or response.headers.get("Last-Modified", "")
    _validator(part).write_text(known, encoding="utf-8")


def _append(url: str, part: Path, size: int, response: Any) -> None:
    """Append the body of a response to the part file."""
    start = have = _size(part)
    began_s = reported_s = time.monotonic()
    with part.open("ab") as file:
        while chunk := _read(response):
            have += len(chunk)
            if have > size:
                raise UserError(f"{url}: the server sent more than {size:,} bytes")
            file.write(chunk)
            now_s = time.monotonic()
            if now_s - reported_s > REPORT_S:
                reported_s = now_s
                _report(part.stem, have, size, (have - start) / (now_s - began_s))
    if have < size:
        raise _BrokenError(f"connection ended after {have:,} of {size:,} bytes")
    seconds = max(time.monotonic() - began_s, 1e-3)
    rate = (have - start) / seconds / 1e6
    log.info("%s: %.0f MB received, %.1f MB/s", part.stem, size / 1e6, rate)


def _open(request: urllib.request.Request, part: Path) -> Any:
    """Send a request. Raises _BrokenError if another attempt may succeed, else UserError."""
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"HTTP {error.code} {error.reason}"
        if error.code == 416:  # the server's file is shorter than the part
            part.unlink(missing_ok=True)
        elif error.code not in TRANSIENT and error.code < 500:
            raise UserError(f"{request.full_url}: {reason}") from None
        raise _BrokenError(reason) from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from None


def _read(response: Any) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """A short description of a network error, on one line."""
    cause = getattr(error, "reason", None) or error
    return " ".join((getattr(cause, "strerror", None) or str(cause) or repr(cause)).split())


def _report(name: str, have: int, size: int, bytes_per_s: float) -> None:
    left_min = (size - have) / max(bytes_per_s, 1) / 60
    text = "%s: %.0f of %.0f MB, %.1f MB/s, %.1f min left"
    log.info(text, name, have / 1e6, size / 1e6, bytes_per_s / 1e6, left_min)


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.validator")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
