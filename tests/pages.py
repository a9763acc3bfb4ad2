"""What tests read in the Markdown files of the documentation."""

import re

from conftest import ROOT


def text_of(file):
    return (ROOT / file).read_text(encoding="utf-8")


def blocks(file, language):
    """Code blocks of a Markdown file, without the indentation of a list they stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text_of(file), re.M | re.S)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]
