"""Files with ImageNet weights in a folder of the user, and their checksums."""

from pathlib import Path

from mdkd.errors import UserError
from mdkd.records import sha256

CHECKSUMS = "SHA256SUMS"  # file in the format of the program sha256sum
SUFFIXES = (".safetensors", ".pth")


def local_name(net: str) -> str:
    """The name of a network's weight file, without suffix. Example: tv:resnet34 -> tv-resnet34."""
    return net.replace(":", "-")


def local_file(net: str, folder: Path) -> Path | None:
    """The file with the ImageNet weights of `net` in a folder, or None. Its checksum is checked."""
    for suffix in SUFFIXES:
        path = folder / f"{local_name(net)}{suffix}"
        if path.is_file():
            _check(path)
            return path
    return None


def _check(path: Path) -> None:
    sums = path.with_name(CHECKSUMS)
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    expected = {pair[-1].removeprefix("*"): pair[0] for pair in pairs}
    if path.name not in expected:
        raise UserError(
            f"{sums}: no line for {path.name}; if you trust the file, add the output of "
            f"`sha256sum {path.name}`, run in its folder"
        )
    if sha256(path) != expected[path.name]:
        raise UserError(f"{path}: its checksum differs from {CHECKSUMS}; download the file again")
