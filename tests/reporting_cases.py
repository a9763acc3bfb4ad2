"""What the tests of reporting share."""

import pickle

from hash_orders import HASH_SEEDS, printed_by_both

WRITE = """
import os, pickle, sys
from pathlib import Path
from mdkd import reporting
from mdkd.kinds import KINDS
for folder, artefact, results, outputs in pickle.loads(Path(sys.argv[1]).read_bytes()):
    folder = folder / os.environ["PYTHONHASHSEED"]
    if "table" in outputs:
        reporting.write_table(artefact, results, folder)
    if "figure" in outputs:
        reporting.write_figure(artefact, results, folder)
"""


def written_by_both(base, made):
    """The files of artefacts as two processes write them that hash strings differently.

    Args:
        base: a folder for the files.
        made: by a name for each: artefact, results, and the outputs to write.

    Returns:
        By name: what each process has written, the content of files by their names.
    """
    tasks = [(base / name, *what) for name, what in made.items()]
    base.mkdir(parents=True, exist_ok=True)
    (base / "tasks.pickle").write_bytes(pickle.dumps(tasks))
    printed_by_both(WRITE, base / "tasks.pickle")
    folders = {name: [base / name / seed for seed in HASH_SEEDS] for name in made}
    return {
        name: [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in both]
        for name, both in folders.items()
    }
