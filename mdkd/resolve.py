"""Resolve names and paths against the specification: data sets, their folders, and runs."""

from pathlib import Path
from typing import Any

from mdkd import keys
from mdkd.config import Dataset, Method, Run
from mdkd.errors import UserError
from mdkd.runpath import RunPath, changes_of, slug
from mdkd.spec import Specification


def resolve_dataset(spec: Specification, name: str) -> Dataset:
    """A data set by name, as trainings see it."""
    spec.lookup("datasets", name)
    return spec.resolved[name]


def resolve_root(spec: Specification, name: str) -> Path:
    """The folder that holds a data set's files."""
    return Path(spec.user.data_root) / spec.lookup("datasets", name).root


def resolve_run(spec: Specification, path: str) -> Run:
    """The run with this path (`mdkd.runpath`), whether any artefact needs it or not."""
    identity = RunPath.parse(path)
    teacher = teacher_key = None
    if identity.teacher is not None:
        spec.lookup("archs", identity.teacher, path)
        teacher = str(RunPath(identity.dataset, identity.teacher, spec.protocol.teacher_seed))
        teacher_key = keys.key(resolve_run(spec, teacher))
    settings = settings_of_variant(spec, identity.method, identity.variant, path)
    return Run(
        path=path,
        protocol=spec.user.protocol,
        dataset=resolve_dataset(spec, identity.dataset),
        arch=identity.arch,
        net=spec.lookup("archs", identity.arch, path).net,
        stem=spec.protocol.stem,
        weights=weights_of(spec, identity.arch),
        head=spec.protocol.head,
        recipe=spec.protocol.recipe,
        method=Method(
            name=identity.method,
            revision=spec.methods[identity.method].revision,
            settings=settings,
        ),
        teacher=teacher,
        seed=identity.seed,
        teacher_key=teacher_key,
    )


def settings_of_variant(
    spec: Specification, method: str, variant: str, where: str
) -> dict[str, Any]:
    """All settings of a method in a variant (`mdkd.runpath.slug`)."""
    file = spec.lookup("methods", method, where)
    try:
        changes = changes_of(variant, file.settings)
    except ValueError:
        raise UserError(f"{where}: '{variant}': a number of {method} is not readable") from None
    changes = file.checked(changes, f"{where}: {method}")
    if slug(changes, file.settings) != variant:
        known = ", ".join(file.settings) or "none"
        raise UserError(f"{where}: '{variant}' is no variant of {method}; its settings: {known}")
    return file.settings | changes


def weights_of(spec: Specification, arch: str) -> str | None:
    """Initial weights of a backbone. No CIFAR-style network has public ImageNet weights."""
    imagenet = spec.protocol.weights == "imagenet"
    return None if imagenet and spec.archs[arch].net.startswith("cifar:") else spec.protocol.weights
