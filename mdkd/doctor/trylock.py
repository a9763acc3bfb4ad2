"""Does a lock of one process keep out another one? ``python -m mdkd.doctor.trylock FOLDER``

Prints ``held`` if it does. It calls itself with the locked file to ask from a second process.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from mdkd import locks

PREFIX = ".mdkd-doctor-"


def main(place: Path) -> None:
    if place.is_file():
        print("held" if locks.is_held(place) else "free")
        return
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as folder:
        file = Path(folder, "lock")
        with locks.held(file, f"{file}: locked"):
            subprocess.run([sys.executable, "-m", "mdkd.doctor.trylock", str(file)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
