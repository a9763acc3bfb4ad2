"""Unpacking: hostile and damaged archives write nothing."""

import re

import pytest
from hostile_archives import HOSTILE


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_never_unpacked(case, tmp_path, name):
    case.server.files[name] = HOSTILE[name]()
    case.serve("voc2007", name)
    before = set(tmp_path.rglob("*"))
    reasons = {"damaged": "cannot be unpacked", "cut": "cannot be unpacked"}
    reasons |= {"empty": "contains no file", "zeros": "contains no file"}
    message = case.refused(name, reasons.get(re.split("[-.]", name)[0], "nothing was unpacked"))
    assert "delete" not in message  # it may be the user's own file, from a mirror
    made = {path.name for path in set(tmp_path.rglob("*")) - before}
    allowed = {"data", "voc2007.download", "lock", name}
    if name.startswith("damaged"):  # found while unpacking
        allowed |= {"files", "a"}
    assert made <= allowed
