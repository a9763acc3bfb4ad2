"""Read YAML strictly: a key that appears twice, too many levels or too many values are errors."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mdkd import records
from mdkd.errors import UserError, nearest, show

DEEPEST, MOST = 50, 10**6  # levels and values of a YAML file, aliases as often as they are used

MERGE = "tag:yaml.org,2002:merge"  # of the key <<


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which a key that appears twice is an error, not a silent override."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.checked: set[yaml.Node] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in the keys of merged mappings (``<<``), which the mapping's own keys may replace."""
        if node not in self.checked:  # it is called again for a mapping that others merge
            self.checked.add(node)
            self._refuse_twice(node)
        super().flatten_mapping(node)

    def _refuse_twice(self, node: yaml.MappingNode) -> None:
        own = [key for key, _ in node.value if key.tag != MERGE]
        keys = [self.construct_object(key, deep=True) for key in own]
        hashable = all(isinstance(key, Hashable) for key in keys)  # if not, the parser says so
        if hashable and len(set(keys)) < len(keys):
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            line = node.start_mark.line + 1
            raise UserError(f"key {show(twice)} appears twice in the mapping at line {line}")


def read_yaml(path: Path, fix: str | None = None) -> Any:
    """The content of a YAML file, with the file's name in every error.

    Args:
        fix: what to do if there is no such file; None: the name of a similar file.
    """
    if fix is None and not path.exists():
        files = path.parent.glob(f"*{path.suffix}") if path.parent.is_dir() else []
        there = [file.stem for file in files]
        fix = nearest(path.stem, there) if there else "check the name of the file and its folder"
    text = records.read_text(path, fix or "a YAML file is expected there")
    try:
        return parse_yaml(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def parse_settings(items: list[str]) -> dict[str, Any]:
    """What ``--set KEY=VALUE`` says, with each value as YAML reads it: a number, a list, text."""
    given: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key or not text.strip():
            raise UserError(f"--set {item}: expected KEY=VALUE; for the default, write KEY=null")
        if key in given:
            raise UserError(f"--set {item}: '{key}' is given twice; leave one out")
        try:
            given[key] = parse_yaml(text)
        except UserError:
            raise UserError(f"--set {item}: '{text}' is not valid YAML; quote it") from None
    return given


def parse_yaml(text: str) -> Any:
    """The value that YAML text stands for.

    Raises:
        UserError: it is not valid, nested too deep, or has aliases that make it very large.
    """
    try:
        _check_size(text)
        return yaml.load(text, _Loader)
    except UserError:
        raise
    except Exception as error:  # a date or an integer that cannot be has its own exception
        raise UserError(f"not valid YAML: {' '.join(str(error).split())[:300]}") from None


def _check_size(text: str) -> None:
    """Check the levels and the number of values of YAML text before they are built."""
    sizes: dict[str, int] = {}  # values behind each anchor that is complete
    counts: list[tuple[str | None, int]] = [(None, 0)]  # anchor and values of each open node
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = counts.pop()
            size += 1
        elif isinstance(event, yaml.CollectionStartEvent):
            counts.append((event.anchor, 0))
            if len(counts) > DEEPEST:
                raise UserError(f"nested deeper than {DEEPEST} levels; write it flatter")
            continue
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise UserError(f"alias '*{event.anchor}' has no complete value before it")
            anchor, size = None, sizes[event.anchor]
        else:
            continue
        if anchor:
            sizes[anchor] = size
        counts[-1] = (counts[-1][0], counts[-1][1] + size)
        if counts[-1][1] > MOST:
            raise UserError(f"more than {MOST} values, aliases included; write fewer")
