"""Tiny data sets in every format, and how a source reads them."""

import make_datasets
import numpy as np
import pytest

from mdkd import registry
from mdkd.config import parse
from mdkd.data import checks
from mdkd.errors import UserError

SIZE = 8


def load(source, root, **options):
    """What `mdkd.data.build.build` gets from a source, checked in the same way."""
    module = registry.load("mdkd.data.sources", source)
    table = module.load(parse(module.Options, options, source), root, SIZE)
    checks.check(table, "data set 'tiny'")
    return table


def make(source, root, *args, **kwargs):
    return getattr(make_datasets, source)(root, *args, **kwargs)


def labels_of(table, split):
    """Every image's labels by name."""
    part = table.splits[split]
    return {
        name: {table.classes[c] for c in np.flatnonzero(row)}
        for name, row in zip(part.ids, part.targets_NC, strict=True)
    }


def refused(source, root, *parts, **options):
    """The message of the one-line error that loading ends with; it must hold all ``parts``."""
    with pytest.raises(UserError) as caught:
        load(source, root, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "delete" not in message, "the files belong to the user"
    for part in parts:
        assert str(part) in message, message
    return message


def edit(file, change):
    """Rewrite a file with what ``change`` makes of its text."""
    text = file.read_text()
    changed = change(text)
    assert changed != text
    file.write_text(changed)
