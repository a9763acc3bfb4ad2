"""Damaged copies of valid input, drawn from a seed: of bytes, and of JSON- or YAML-like values.

A reader must refuse each of them with a `UserError`, or load it to a valid object.
"""

import copy
import random
from collections.abc import Iterator

INSERTED = (  # bytes that editors, downloads and other programs leave in files
    b"\xef\xbb\xbf",  # a byte-order mark
    b"\xff\xfe",  # that of UTF-16
    b"\x00",
    b"\xe9t\xe9",  # latin-1
    b"\xed\xa0\x80",  # half of a pair of UTF-16
    b"\x1b[31m",
    b"\r\n",
    b"\r",
    b"\t",
    b'"',
    b"\\ud800",
    b"[",
    b"{",
    b"&a [*a, *a]",
    b"!!python/object:os.system {}",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,  # more digits than Python converts
    b": ",
    b"# ",
    b"<html>",
)
WHOLE = (  # in place of the whole content
    b"",
    b"\n",
    b"\x00" * 64,
    b"[]",
    b"{}",
    b"null",
    b"0",
    b'"text"',
    b"[" * 3000,
    b"{'a':" * 3000,
    b'{"a":' * 3000,
    b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    b"\xff\xfe{\x00}\x00",
)


def of_bytes(content: bytes, seed: int) -> bytes:
    """A damaged copy of the content of a file. Equal seeds give equal copies."""
    rng = random.Random(seed)
    kind = rng.randrange(7)
    at, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 8, 100))
    if kind == 0:
        return rng.choice(WHOLE)
    if kind == 1:  # as after a full disk
        return content[:at]
    if kind == 2:
        return content[:at] + content[at + length :]
    if kind == 3:
        damaged = bytearray(content or b"\x00")
        for _ in range(rng.choice((1, 1, 1, 10))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        return bytes(damaged)
    if kind == 4:
        return content[:at] + rng.choice(INSERTED) + content[at:]
    if kind == 5:
        return content[: at + length] + content[at:]
    lines = content.split(b"\n")  # a line is lost, doubled or moved
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.randrange(3)):
        lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../outside",
    "/etc/passwd",
    "~",
    "a\nb",
    "a\x00b",
    "\ud800",  # no valid Unicode: it cannot be written as UTF-8
    "\u202egnp.exe",
    "Zürich 東京 🙂",
    "con",
    "a b; rm -rf $HOME 'q' \"d\" {x} %s #",
    "1e-05",
    "nan",
    "x" * 5000,
)


def _deep(depth: int) -> object:
    value: object = 0
    for i in range(depth):
        value = [value] if i % 2 else {"a": value}
    return value


def _other(rng: random.Random) -> object:
    """Any value; most are of a type or range that nobody expects."""
    simple = (None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**400))
    numbers = (0.0, -0.0, 0.5, -0.5, 1e-320, 1e300, float("inf"), float("-inf"), float("nan"))
    nested = ([], {}, [[]], [None], [{}], {"": None}, {"a": {"b": []}}, [0, "x", None])
    return rng.choice(
        (
            lambda: rng.choice(simple),
            lambda: rng.choice(numbers),
            lambda: rng.choice(TEXTS),
            lambda: copy.deepcopy(rng.choice(nested)),
            lambda: rng.choice((_deep(20), _deep(500), {1: "a", None: "b", 2.5: "c"})),
        )
    )()


def of_value(value: object, seed: int) -> object:
    """A damaged copy of a value made of dicts, lists and scalars. Equal seeds give equal copies.

    One place, chosen at random at any depth, is replaced, lost, added, doubled or wrapped.
    """
    rng = random.Random(seed)
    places = list(_places(value, ()))
    path = rng.choice(places)
    if not path:
        return _damaged(copy.deepcopy(value), rng)
    damaged = copy.deepcopy(value)
    holder = damaged
    for key in path[:-1]:
        holder = holder[key]
    if rng.randrange(6) == 0:
        del holder[path[-1]]
    else:
        holder[path[-1]] = _damaged(holder[path[-1]], rng)
    return damaged


def _places(value: object, path: tuple) -> Iterator[tuple]:
    """The path of every place in a value, the whole first."""
    yield path
    children = enumerate(value) if isinstance(value, list) else ()
    children = value.items() if isinstance(value, dict) else children
    for key, child in children:
        yield from _places(child, (*path, key))


def _damaged(value: object, rng: random.Random) -> object:
    """Another value in place of this one, often of the same type."""
    if rng.randrange(2):
        return _other(rng)
    if isinstance(value, dict):
        key = rng.choice(("", "extra", "../x", 0, None, "x" * 300))
        return rng.choice((value | {key: _other(rng)}, list(value), [value], {"a": value}))
    if isinstance(value, list):
        return rng.choice((value * 2, [*value, _other(rng)], {"a": value}, [value], value[::-1]))
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return rng.choice((-value, str(value), [value], value * 10**6, value + 0.5, value == 0))
    if isinstance(value, str):
        return rng.choice((value.upper(), value + "\n", value[:-1], f"../{value}", [value], 7))
    return _other(rng)
