"""Fetch one large file over HTTP: in pieces, through broken connections and killed processes.

What has arrived lies in ``FILE.part``; beside it, in ``FILE.part.validator``, the ETag or date by
which the server tells whether its file is still the same one.
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
ATTEMPTS = 5  # in a row without as much as one chunk more than ever before
WAIT_S = 1.0  # after an attempt with progress; doubled by each one in a row without
TIMEOUT_S = 60.0  # of silence
REPORT_S = 5.0  # between two lines of progress
TRANSIENT = (408, 425, 429)  # and all of 500 and above: worth another attempt

log = logging.getLogger(__name__)


class _BrokenError(Exception):
    """The connection failed in a way that another attempt may mend."""


def fetch(url: str, file: Path, size: int) -> None:
    """Fetch ``file`` of ``size`` bytes, continuing what an earlier call has left.

    Raises:
        UserError: the server has no such file, one of another size, or keeps breaking off.
    """
    part = _part(file)
    longest, failures = _size(part), 0
    while _size(part) != size:
        try:
            _receive(url, part, size)
        except _BrokenError as error:
            # A server that always starts again and always breaks off makes no progress.
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
    """How many bytes of ``file`` are here, all of them included."""
    return max(_size(file), _size(_part(file)))


def _receive(url: str, part: Path, size: int) -> None:
    """One attempt: append what is missing, or start again if the server's file is another one."""
    request = urllib.request.Request(url, headers={"User-Agent": f"mdkd/{__version__}"})
    start, validator = _size(part), _validator(part)
    known = validator.read_text(encoding="utf-8") if validator.exists() else ""
    if 0 < start < size:
        request.add_header("Range", f"bytes={start}-")
        if known:  # if the file has changed, all of it is sent
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
                raise _BrokenError("sends another file or part than asked for")
        else:
            start = 0
            _start(url, part, size, response)
        _append(url, part, size, response)


def _start(url: str, part: Path, size: int, response: Any) -> None:
    """Begin an empty part, and note how to recognise the server's file later."""
    length = response.headers.get("Content-Length")
    if length is not None and int(length) != size:
        raise UserError(f"{url}: offers {int(length):,} bytes, expected {size:,}")
    part.write_bytes(b"")
    etag = response.headers.get("ETag", "")
    strong = etag if etag.startswith('"') else ""  # If-Range takes no weak one
    known = strong or response.headers.get("Last-Modified", "")
    _validator(part).write_text(known, encoding="utf-8")


def _append(url: str, part: Path, size: int, response: Any) -> None:
    """Write the body of a response behind what is there."""
    start = have = _size(part)
    began_s = reported_s = time.monotonic()
    with part.open("ab") as file:
        while chunk := _read(response):
            have += len(chunk)
            if have > size:
                raise UserError(f"{url}: sends more than {size:,} bytes")
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
    """The response to a request; a failure that may pass is a _BrokenError."""
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
    """A network error in a few words on one line."""
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
