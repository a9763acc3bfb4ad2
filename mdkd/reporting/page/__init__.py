"""One HTML page to look at all runs of a protocol: from a file, without a server or a network.

The page is made of ``page.html``, ``page.css`` and the scripts beside this file. The numbers are
embedded as JSON. All statistics are computed here; the scripts only sort, select and draw.
"""

import json
import logging
from pathlib import Path
from typing import Any

from mdkd import records
from mdkd.plan import Plan
from mdkd.reporting import escapes
from mdkd.reporting.page.gather import content
from mdkd.results import Results

FOLDER = Path(__file__).parent
SCRIPTS = ("base.js", "charts.js", "tables.js", "runs.js", "pairs.js", "frame.js")  # in this order
NAME = "explore.html"

log = logging.getLogger(__name__)


def write(plan: Plan, results: Results) -> None:
    """Write ``explore.html``: every run of the plan that is done, with any seed."""
    file = results.results / NAME
    page = html(content(plan, results))
    with records.atomic(file) as target:
        target.write(page.encode())
    log.info("%s: %.1f MB", file, len(page) / 1e6)


def html(data: dict[str, Any]) -> str:
    """The page with these numbers. Equal numbers give an equal page."""
    parts = {
        "title": escapes.hypertext(f"Runs of protocol {data['protocol']}"),
        "style": _read("page.css"),
        "data": embedded(data),
        "script": "\n".join(_read(name) for name in SCRIPTS),
    }
    page = _read("page.html")
    for name, text in parts.items():
        before, after = page.split(f"<!--{name}-->")  # each place is there once
        parts[name], page = before + text, after
    return "".join(parts.values()) + page


def embedded(data: Any) -> str:
    """JSON that may stand in a script element, whatever the texts in it are.

    >>> embedded({"name": "</script>\\u2028"})
    '{"name":"\\\\u003c/script>\\\\u2028"}'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII only
    return text.replace("<", "\\u003c")


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
