"""Plain text as source of Markdown, LaTeX and HTML that prints it, whatever characters it has."""

import html
import re
import unicodedata

NO_GLYPH = "\\noglyph"  # a macro: the code of a character that LaTeX's fonts lack, and itself
DEFINE_NO_GLYPH = (
    f"\\providecommand{{{NO_GLYPH}}}[2]{{[U+#1]}}"
    f" % with XeLaTeX and a font that has it: \\newcommand{{{NO_GLYPH}}}[2]{{#2}}"
)
# Beyond ASCII, what pdfLaTeX prints without further packages.
LATIN = (
    "¡¢£§©ª¬®¯°±²³¶·¹º¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
    "ĀāĂăĆćĈĉĊċČčĎďĒēĔĕĖėĚěĜĝĞğĠġĢģĤĥĨĩĪīĬĭİıĴĵĶķĹĺĻļĽľŁłŃńŅņŇňŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤť"
    "ŨũŪūŬŭŮůŰűŴŵŶŷŸŹźŻżŽžȘșȚț—‘’“”‡•…€™"
)
GREEK = "alpha beta gamma delta epsilon zeta eta theta kappa mu nu xi pi rho sigma tau chi omega"
TEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "→": "$\\rightarrow$",
    "–": "--",
    "−": "$-$",
    "×": "$\\times$",
    "≤": "$\\leq$",
    "≈": "$\\approx$",
    "≥": "$\\geq$",
    "‖": "$\\|$",
    "Δ": "$\\Delta$",
    "Ψ": "$\\Psi$",
    "Φ": "$\\Phi$",
    "φ": "$\\varphi$",
    "λ": "$\\lambda$",
    "†": "$^\\dagger$",
    "‡": "$^\\ddagger$",
    "µ": "$\\mu$",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{char: f"{{{char}}}" for char in "[]*"},  # else an option of the command before
    **{unicodedata.lookup(f"GREEK SMALL LETTER {n}"): f"$\\{n}$" for n in GREEK.split()},
}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def line(text: str) -> str:
    """The text on one line; a character that no format can print becomes U+FFFD.

    >>> line("a \\n\\t b\\x07")
    'a b\\ufffd'
    """
    return CONTROL.sub("\ufffd", " ".join(text.split()))


def markdown(text: str) -> str:
    """Plain text as GitHub's Markdown; readable on a terminal too.

    >>> markdown("a|b <b> 3 < 4 * a_b")
    'a\\\\|b \\\\<b> 3 < 4 \\\\* a_b'
    """
    special = r"[\\|*`$~\[]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])"
    text = re.sub(special, r"\\\g<0>", line(text))
    # At the head of a line: a heading, an item of a list, a quotation, a rule.
    return re.sub(r"^(\d*)(?=[#>]|[-+] |[-=]{2}|(?<=\d)[.)] )", r"\1\\", text)


def lacking(text: str) -> str:
    """The characters, each once, in place of which `latex` prints their code."""
    known = TEX.keys() | set(LATIN)
    found = unicodedata.normalize("NFC", line(text))
    return "".join(dict.fromkeys(c for c in found if not c.isascii() and c not in known))


def latex(text: str) -> str:
    """Plain text as LaTeX source; characters beyond its fonts become calls of `NO_GLYPH`."""
    text, codes = unicodedata.normalize("NFC", line(text)), set(lacking(text))
    return "".join(
        f"{NO_GLYPH}{{{ord(char):04X}}}{{{char}}}"
        if char in codes
        else "{}-"  # two hyphens would be printed as a dash
        if char == "-" == before
        else TEX.get(char, char)
        for before, char in zip(" " + text, text, strict=False)
    )


def hypertext(text: str) -> str:
    """Plain text as HTML."""
    return html.escape(line(text))
