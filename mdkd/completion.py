"""`mdkd completion`: a script with which bash or zsh completes verbs, options and names.

The script is made by the package shtab. Names of artefacts, data sets and runs are looked up by the
shell itself, in ``config/`` and ``store/`` below the working directory: to start Python at each key
would be slow.
"""

import argparse
from collections.abc import Iterator

NAMES = {  # by what a word names: a command of the shell that prints candidates
    "runs": "(cd store 2>/dev/null && find supervised distill -type d -name 'seed*' "
    "2>/dev/null | LC_ALL=C sort)",
    "artefacts": "(cd config/experiments 2>/dev/null && ls | sed -n 's/[.]yaml$//p')",
    "datasets": "sed -n 's/^\\([a-z0-9_]*\\):.*/\\1/p' config/datasets.yaml 2>/dev/null",
}
TARGETS = {  # by verb: what its arguments name
    "download": ("datasets",),
    "cache": ("datasets",),
    "train": ("runs",),
    "score": ("runs",),
    "predict": ("runs",),
    "export": ("runs",),
    "attend": ("artefacts",),
    "compare": ("artefacts", "runs"),
    "curves": ("artefacts", "runs"),
    "plan": ("artefacts",),
    "status": ("artefacts",),
    "tune": ("artefacts",),
    "report labels": ("datasets",),
    "report table": ("artefacts",),
    "report figure": ("artefacts",),
    "report document": ("artefacts",),
    "report partial": ("artefacts",),
}
FOLDERS = ("config", "tensorboard", "output")
FILES = ("plan", "log", "csv", "images")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for ``bash`` or ``zsh``.

    Raises:
        ModuleNotFoundError: shtab is not installed.
    """
    import shtab

    for words, action in _actions(parser, ()):
        if action.dest in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.dest in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest in ("target", "other") and (known := TARGETS.get(" ".join(words))):
            function = f"_mdkd_{'_or_'.join(known)}"
            action.complete = {"bash": function, "zsh": function}  # type: ignore[attr-defined]
    preamble = _functions(BASH if shell == "bash" else ZSH)
    return shtab.complete(parser, shell, preamble=preamble).rstrip("\n")


BASH = '{name}() {{\n  compgen -W "$( {commands})" -- "$1"\n}}'
ZSH = '{name}() {{\n  local -a found\n  found=(${{(f)"$( {commands})"}})\n  compadd -a found\n}}'


def _functions(template: str) -> str:
    """One function of the shell for each combination of names."""
    return "\n".join(
        template.format(
            name=f"_mdkd_{'_or_'.join(known)}", commands="; ".join(NAMES[name] for name in known)
        )
        for known in sorted(set(TARGETS.values()))
    )


def _actions(
    parser: argparse.ArgumentParser, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], argparse.Action]]:
    """All arguments of all verbs, with the words of the verb."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _actions(below, (*words, name))
        else:
            yield words, action
