"""For `mkdocs build`: links to files outside this folder become plain text with the file's path."""

import re

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#\s]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for each page."""

    def plain(link: re.Match[str]) -> str:
        text, path = link[1], link[2]
        return text if path in text else f"{text} (`{path}`)"

    return OUTSIDE.sub(plain, markdown)
