"""Networks that were trained elsewhere: a file with weights takes the place of a training.

``checkpoint: FILE`` of an entry in ``architectures.yaml`` makes its network a teacher that is
scored and not trained. The file is one of two things:

- a run of this project, perhaps in another store: its folder, or a file in it. Its ``run.json``
  says which head and which stem the network has.
- a state dict of a backbone with one linear classifier for all labels, as timm, torchvision and
  plain PyTorch save it.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from mdkd import records, store
from mdkd.config import Checkpoint, Head, Run, Stem, parse_known
from mdkd.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Found:
    """A checkpoint, and what the network must be like to fit it."""

    checkpoint: Checkpoint
    head: Head
    stem: Stem | None = None  # None: the file does not say


def find(place: str, net: str, normalisation: str, where: str) -> Found:
    """The checkpoint at ``place``: a file, or the folder of a run.

    Args:
        net: the network that the entry names.
        normalisation: that of the recipe, in which a student and its teacher see the images.
        where: names the entry in errors.

    Raises:
        UserError: there is no such file, or its record says that it is another network.
    """
    file = Path(place)
    if file.is_dir() or file.name == store.RECORD:
        file = (file if file.is_dir() else file.parent) / store.WEIGHTS
    found = digest(file, f"{where}: checkpoint")
    checkpoint = Checkpoint(file=str(file), sha256=found)
    own = store.Entry(file.parent)
    if file.name != store.WEIGHTS or not own.finished:
        return Found(checkpoint=checkpoint, head=Head(kind="gap"))
    record = own.record()
    run = parse_known(Run, record["run"], f"{own.folder / store.RECORD}: run")
    for what, theirs, ours in (
        ("net", run.net, net),
        ("recipe: normalisation", run.recipe.normalisation, normalisation),
        ("weights_sha256", record["weights_sha256"], found),
    ):
        if theirs != ours:
            hint = f"expected '{ours}'; name another checkpoint"
            raise UserError(
                f"{where}: checkpoint: {own.folder / store.RECORD}: {what} is '{theirs}', {hint}"
            )
    return Found(checkpoint=checkpoint, head=run.head, stem=run.stem)


def digest(file: Path, where: str) -> str:
    """The SHA-256 of a file with weights; ``where`` names the setting in the error.

    Raises:
        UserError: there is no such file.
    """
    if not file.is_file():
        raise UserError(f"{where}: {file}: no such file; give a file with weights")
    stat = file.stat()
    return _sha256(file, stat.st_mtime_ns, stat.st_size)


def check_unchanged(what: str, file: Path, sha256: str) -> None:
    """Raise a UserError unless a file with weights is the one that the plan has seen."""
    if not file.is_file() or records.sha256(file) != sha256:
        raise UserError(f"{what} '{file}': gone, or changed since the plan was made; plan again")


@functools.lru_cache(maxsize=64)
def _sha256(file: Path, changed_ns: int, size: int) -> str:
    """The digest of a file; it is computed again if the file changes."""
    return records.sha256(file)
