"""Attention maps on disk: what `mdkd attend` writes and the figures of the kind `attention` show.

Shape key: K columns, R rows (networks), P pairs of an image and a label, S pixels on a side,
C colours.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from mdkd import records
from mdkd.artefacts import Artefact, Cell
from mdkd.errors import UserError
from mdkd.results import Results, State


@dataclass(frozen=True, kw_only=True)
class Maps:
    """The content of ``attention/{name}.npz``. Pairs of one image stand next to each other."""

    basis: np.ndarray  # text, see `basis`
    rows_R: np.ndarray  # labels of the networks, the teacher first
    states_KR: np.ndarray  # text of `state`
    column_P: np.ndarray  # index of the artefact's column
    ids_P: np.ndarray  # of the images
    labels_P: np.ndarray
    errors_P: np.ndarray  # number of labels that the teacher gets wrong in the image
    images_PSSC: np.ndarray  # uint8
    probabilities_PR: np.ndarray  # of the pair's label, in [0, 1]; NaN if there is no run
    maps_PRSS: np.ndarray  # float16 in [0, 1]; NaN if there is no run

    def save(self, path: Path) -> None:
        with records.atomic(path) as file:
            np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Maps":
        """Read such a file.

        Raises:
            UserError: it is damaged, or its arrays do not fit together.
        """
        try:
            with np.load(path) as stored:  # never unpickles
                maps = cls(**stored)
            _check_shapes(maps)
        except Exception as error:  # a damaged archive raises many types
            what = f"not readable as attention maps ({' '.join(str(error).split())[:100]})"
            raise UserError(f"{path}: {what}; delete it and run `mdkd attend` again") from None
        return maps


def _check_shapes(maps: Maps) -> None:
    """Check the sizes of all arrays, which the letters of their names say."""
    sizes = {"C": 3}
    for f in fields(maps):
        _, _, letters = f.name.partition("_")
        shape = getattr(maps, f.name).shape
        found = dict(zip(letters, shape, strict=True))
        if any(sizes.setdefault(letter, found[letter]) != found[letter] for letter in letters):
            raise ValueError(f"{f.name} is {shape}")


def path_of(artefact: Artefact, results: Results) -> Path:
    """The file that holds the maps of an artefact."""
    return results.results / "attention" / f"{artefact.name}.npz"


def state(cell: Cell, results: Results) -> State:
    """The state of the one run that is shown, the first of the cell."""
    return results.cell_state(replace(cell, runs=cell.runs[:1]))


def basis(artefact: Artefact, results: Results) -> str:
    """Everything that the maps depend on, as text: maps with another basis are not shown."""
    networks = {
        row.label: [
            results.record(cell.runs[0])["weights_sha256"] if found.name == "done" else str(found)
            for cell in row.cells
            for found in [state(cell, results)]
        ]
        for row in artefact.rows
    }
    facts = {"columns": artefact.columns, "options": artefact.options, "networks": networks}
    return records.canonical(facts)
