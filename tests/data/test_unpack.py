"""Unpacking: hostile and damaged archives write nothing."""

import pytest
from hostile_archives import HOSTILE


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_never_unpacked(case, tmp_path, name):
    case.server.files[name] = HOSTILE[name]()
    case.serve("voc2007", name)
    before = set(tmp_path.rglob("*"))
    damaged = name.startswith(("damaged", "cut"))
    case.refused(name, "cannot be unpacked" if damaged else "nothing was unpacked")
    made = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert made <= {"data", "voc2007.download", "lock", name}
