"""Finished runs in the store that have the path of a planned run, but other settings."""

from collections.abc import Iterator
from typing import Any

from mdkd import keys
from mdkd.config import Run
from mdkd.layout import Layout
from mdkd.store import RECORD, Entry


def differences(run: Run, layout: Layout) -> list[str]:
    """How each of them differs from the planned run."""
    return [
        ", ".join(keys.differences(keys.planned(run), record["planned"])) or "other data"
        for _, record in _neighbours(run, layout)
    ]


def hint(run: Run, layout: Layout, *, file: bool = False) -> str | None:
    """For a run that is not trained: the first of them, and how to ask for it. None: there is none.

    Args:
        file: whether the command also takes the record of a run.
    """
    found = list(_neighbours(run, layout))
    if not found:
        return None
    entry, record = found[0]
    theirs = record["run"]["protocol"]
    ways = ["give this file"] if file else []
    if theirs != run.protocol:
        ways.append(f"add --protocol {theirs} (and the --set that it was trained with)")
    else:
        ways.append("add the --set that it was trained with")
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    place = f"{entry.folder / RECORD} (protocol {theirs}){more}"
    return f"trained with other settings: {place}; {', or '.join(ways)}"


def _neighbours(run: Run, layout: Layout) -> Iterator[tuple[Entry, dict[str, Any]]]:
    own = keys.key(run)
    for file in sorted((layout.store / run.path).glob(f"*/{RECORD}")):
        entry = Entry(file.parent)
        record = entry.record_if_intact()
        if file.parent.name != own and record:
            yield entry, record
