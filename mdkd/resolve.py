"""Resolve names and paths against the specification: data sets, their folders, and runs."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from mdkd import keys
from mdkd.checkpoints import Found, digest, find
from mdkd.config import ROW_KEYS, Dataset, Method, Recipe, Run, parse
from mdkd.errors import UserError
from mdkd.runpath import SUPERVISED_METHOD, RunPath, changes_of, slug
from mdkd.spec import Specification
from mdkd.specfiles import Entry

RECIPE = [field.name for field in fields(Recipe)]
SEED = "teacher_seed"

SCRATCH = ("cifar:", "module:")


def resolve_dataset(spec: Specification, name: str, where: str | None = None) -> Dataset:
    """A data set by name, as trainings see it; ``where`` it is named, for messages."""
    spec.lookup("datasets", name, where or name)
    return spec.resolved[name]


def resolve_root(spec: Specification, name: str) -> Path:
    """The folder that holds a data set's files."""
    return Path(spec.user.data_root) / spec.lookup("datasets", name, name).root


def resolve_run(spec: Specification, path: str) -> Run:
    """The run with this path (`mdkd.runpath`), whether any artefact needs it or not."""
    identity = RunPath.parse(path)
    row = row_of_variant(spec, identity, path)
    teacher = teacher_key = None
    if identity.teacher is not None:
        spec.lookup("archs", identity.teacher, path)
        teacher = str(RunPath(identity.dataset, identity.teacher, teacher_seed(spec, row)))
        teacher_key = keys.key(resolve_run(spec, teacher))
    net = spec.lookup("archs", identity.arch, path).net
    found = checkpoint_of(spec, identity.arch)
    if found and identity.teacher is not None:
        raise UserError(f"{path}: '{identity.arch}' has a checkpoint, so it is not trained")
    method = spec.methods[identity.method]
    weights, weights_sha256 = (None, None) if found else _initial_weights(spec, identity.arch)
    run = Run(
        path=path,
        protocol=spec.user.protocol,
        dataset=resolve_dataset(spec, identity.dataset, path),
        arch=identity.arch,
        net=net,
        stem=spec.protocol.stem,
        weights=weights,
        weights_sha256=weights_sha256,
        head=spec.protocol.head,
        recipe=parse(Recipe, asdict(spec.recipe_of(identity.arch)) | row.recipe, f"{path}: recipe"),
        method=Method(
            name=identity.method,
            revision=method.revision,
            settings=method.settings | row.set,
        ),
        teacher=teacher,
        seed=identity.seed,
        teacher_key=teacher_key,
    )
    if found is None:
        return run
    stem = found.stem or run.stem
    return replace(run, head=found.head, stem=stem, checkpoint=found.checkpoint)


def _initial_weights(spec: Specification, arch: str) -> tuple[str | None, str | None]:
    """The initial weights of a backbone, and the digest of their file if they have one.

    Raises:
        UserError: there is no such file.
    """
    weights = weights_of(spec, arch)
    if weights is None or weights == "imagenet":
        return weights, None
    own = spec.archs[arch].weights != "protocol"
    place = f"{spec.folder / 'architectures.yaml'}: {arch}" if own else str(spec.protocol_file)
    return weights, digest(Path(weights), f"{place}: weights")


def checkpoint_of(spec: Specification, arch: str) -> Found | None:
    """The checkpoint that takes the place of a network's training, if it has one."""
    entry = spec.archs[arch]
    if entry.checkpoint is None:
        return None
    where = f"{spec.folder / 'architectures.yaml'}: {arch}"
    return find(entry.checkpoint, entry.net, spec.protocol.recipe.normalisation, where)


def teacher_seed(spec: Specification, row: Entry) -> int:
    """The seed of the teacher that teaches a row."""
    return spec.protocol.teacher_seed if row.teacher_seed is None else row.teacher_seed


def variant_of(spec: Specification, row: Entry, arch: str | None = None) -> str:
    """The variant that names what a row changes (`mdkd.runpath.slug`).

    Args:
        arch: the student, whose own recipe is changed; None: the recipe of the protocol.
    """
    changes = row.set | row.recipe
    if row.teacher_seed is not None:
        changes["teacher_seed"] = row.teacher_seed
    return slug(changes, _defaults(spec, row.method, arch))


def row_of_variant(spec: Specification, identity: RunPath, where: str) -> Entry:
    """The inverse of `variant_of`: the row that makes a run with the variant of this path."""
    method, variant, arch = identity.method, identity.variant, identity.arch
    file = spec.lookup("methods", method, where)
    known = _defaults(spec, method, arch)
    try:
        changes = changes_of(variant, known)
    except ValueError:
        raise UserError(f"{where}: '{variant}': a number of {method} is not readable") from None
    parts: dict[str, Any] = {
        "method": method,
        "set": {key: value for key, value in changes.items() if key in file.settings},
        "recipe": {key: value for key, value in changes.items() if key in RECIPE},
        SEED: changes.get(SEED),
    }
    row = spec.checked(parse(Entry, parts, where), where)
    if variant_of(spec, row, arch) != variant:
        settings = ", ".join(file.settings) or "none"
        raise UserError(
            f"{where}: '{variant}' is no variant of {method}; its settings: {settings}; "
            f"of every method: {', '.join(key for key in ROW_KEYS if key in known)}"
        )
    return row


def _defaults(spec: Specification, method: str, arch: str | None) -> dict[str, Any]:
    """Everything that a variant of a method may name, with the values of the protocol."""
    values = spec.methods[method].settings | asdict(spec.recipe_of(arch))
    return values if method == SUPERVISED_METHOD else values | {SEED: spec.protocol.teacher_seed}


def weights_of(spec: Specification, arch: str) -> str | None:
    """Initial weights of a backbone: its own, or those of the protocol.

    Networks of the prefixes in `SCRATCH` have no public ImageNet weights.
    """
    entry = spec.archs[arch]
    if entry.weights != "protocol":
        return entry.weights
    imagenet = spec.protocol.weights == "imagenet"
    return None if imagenet and entry.net.startswith(SCRATCH) else spec.protocol.weights
