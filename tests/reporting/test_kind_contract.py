"""What every kind of artefact promises; a new kind is tested without being named here.

What a kind needs is read from its declaration in `mdkd/kinds.py`, see tests/kind_cases.py. For
promises that a kind cannot keep there are the opt-outs below.
"""

import re
from functools import cache, partial

import pytest
from kind_cases import CANNOT, FIRST, NOTE, REASON, SITUATIONS, TIED, TITLE, Bench, hit_rows
from kind_pages import Page, Printed, draw, module
from reporting_cases import written_by_both

from mdkd.kinds import KINDS
from mdkd.layout import FIGURE_FORMATS, TABLE_FORMATS
from mdkd.reporting.notes import OTHER_SETTINGS
from mdkd.reporting.tables import GAP

pytestmark = pytest.mark.filterwarnings("error")

# Opt-outs. Add a kind, with the reason, where the promise cannot be kept.
# Rows without a place in the table: the teacher has no rank, nor has what cannot run everywhere.
NO_PLACE = {"ranks": {"Teacher", CANNOT}}
# Figures without rows: the diagram of ranks needs six complete cells, and says so.
NO_ROWS_IN_THE_FIGURE = {"ranks"}
# Columns of a CSV that are about all pairs: one choice is made for all of them.
ABOUT_ALL_PAIRS = {"tuning": {"choice"}}

TABLES = [kind for kind, declared in KINDS.items() if "table" in declared.outputs]
FIGURES = [kind for kind, declared in KINDS.items() if "figure" in declared.outputs]
WITH_ROWS = [kind for kind in FIGURES if kind not in NO_ROWS_IN_THE_FIGURE]
ABOUT_TABLES = ("runs missing", "ties", "published numbers")
DRAWN = [name for name in SITUATIONS if name not in ABOUT_TABLES]
# Whose files two processes write: drawing takes seconds, so that is done in one situation.
WRITTEN = {"one column": KINDS} | dict.fromkeys(("runs missing", "ties"), TABLES)
WORDS = re.compile(r"(?<![\w.])(nan|NaN|None|inf|Infinity|NaT|<NA>|&lt;NA&gt;)(?![\w.])")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def printed(bench):
    return cache(partial(Printed, bench))


@pytest.fixture(scope="module")
def drawn(bench):
    return cache(partial(draw, bench))


@pytest.fixture(scope="module")
def written(bench):
    """The files of two processes, by situation and kind."""
    made = {}
    for situation, kinds in WRITTEN.items():
        case = bench.case(situation)
        for kind in kinds:
            outputs = KINDS[kind].outputs if kinds is KINDS else ["table"]
            made[f"{situation}/{kind}"] = (case.artefacts[kind], case.results, outputs)
    return written_by_both(bench.base / "written", made)


def test_opt_outs_are_of_kinds_and_rows_that_exist(bench):
    assert set(NO_PLACE) <= set(TABLES)
    assert set(FIGURES) >= NO_ROWS_IN_THE_FIGURE
    assert set(ABOUT_ALL_PAIRS) <= set(TABLES)
    for kind, labels in NO_PLACE.items():
        assert labels <= {row.label for row in bench.case("all done").artefacts[kind].rows}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_defines_the_functions_of_its_outputs(kind):
    defined = {name for name in ("table", "figure") if hasattr(module(kind), name)}
    assert defined == set(KINDS[kind].outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_output_is_written_in_every_format(kind, bench, written):
    name = bench.case("one column").artefacts[kind].name
    formats = {"table": TABLE_FORMATS, "figure": FIGURE_FORMATS}
    expected = {f"{name}.{s}" for output in KINDS[kind].outputs for s in formats[output]}
    files, _ = written[f"one column/{kind}"]
    assert set(files) == expected
    starts = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG", "html": b"<!DOCTYPE html>"}
    for file, content in files.items():
        assert content.startswith(starts.get(file.rpartition(".")[2], b"")), file
        assert len(content) > 100, file


@pytest.mark.parametrize(
    ("situation", "kind"), [(name, kind) for name, kinds in WRITTEN.items() for kind in kinds]
)
def test_another_process_writes_the_same_bytes(situation, kind, written):
    first, second = written[f"{situation}/{kind}"]
    assert first
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("kind", TABLES)
def test_every_row_has_a_place_in_the_table(kind, situation, printed):
    page = printed(kind, situation)
    placed = {row.label for row in page.artefact.rows if page.places(row) is not None}
    without = {page.names.get(label, label) for label in NO_PLACE.get(kind, ())}
    assert {row.label for row in page.artefact.rows} - placed == without
    assert all(page.places(row) for row in page.artefact.rows if row.panel)


@pytest.mark.parametrize("kind", WITH_ROWS)
def test_every_row_is_named_in_the_figure(kind, bench, drawn):
    texts, _ = drawn(kind, "all done")
    rows = [row for row in bench.case("all done").artefacts[kind].rows if row.role != "teacher"]
    names = [row.label if row.panel is None else f"{row.x:g}" for row in rows]
    assert [name for name in names if not any(name in text for text in texts)] == []


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("kind", TABLES)
def test_no_word_is_printed_in_place_of_a_number(kind, situation, printed):
    found = {suffix: WORDS.findall(text) for suffix, text in printed(kind, situation).texts.items()}
    assert found == {suffix: [] for suffix in TABLE_FORMATS}


@pytest.mark.parametrize("situation", DRAWN)
@pytest.mark.parametrize("kind", FIGURES)
def test_no_word_is_drawn_in_place_of_a_number(kind, situation, drawn):
    texts, _ = drawn(kind, situation)
    assert texts
    assert [text for text in texts if WORDS.search(text)] == []


def test_words_in_place_of_numbers_are_recognised():
    for text in ("nan", "-inf", "| None |", "nan ± nan", "<td>NaN</td>", "a,nan,b", "[nan, 1]"):
        assert WORDS.search(text), text
    for text in ("information", "1.inf", "Nonesuch", "banana"):
        assert not WORDS.search(text), text


@pytest.mark.parametrize(
    ("situation", "gap"),
    [
        ("runs missing", GAP),
        ("one column", GAP),
        ("runs failed", "failed"),
        ("runs of other settings", GAP),
        ("special characters", GAP),
    ],
)
@pytest.mark.parametrize("kind", TABLES)
def test_rows_without_runs_are_gaps_and_those_with_some_have_a_dagger(
    kind, situation, gap, printed
):
    page = printed(kind, situation)
    lost, partly = hit_rows(page.artefact)
    for row in lost:
        texts = {entry.text for entry in page.places(row)}
        assert texts <= {gap, "n/a", ""}, row.label
        assert gap in texts or not texts, row.label
    for row in partly:
        numbers = [e.text for e in page.places(row) if re.search(r"\d", e.text)]
        assert [text for text in numbers if "†" not in text] == [], row.label
        assert numbers or not page.places(row), row.label
    assert any(page.places(row) for row in lost) and any(page.places(row) for row in partly)


@pytest.mark.parametrize("kind", TABLES)
def test_before_any_run_there_are_gaps_alone(kind, printed):
    texts = {entry.text for entry in printed(kind, "nothing run").entries}
    assert GAP in texts
    assert texts <= {GAP, "n/a", ""}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("kind", TABLES)
def test_a_row_that_cannot_run_is_no_gap_and_has_its_reason(kind, situation, printed):
    page = printed(kind, situation)
    row = page.row(CANNOT)
    assert {entry.text for entry in page.places(row) or ()} <= {"n/a", ""}
    assert f"{row.label}: n/a: {page.names[REASON]}." in page.table.notes


@pytest.mark.parametrize(
    ("situation", "gap"),
    [("one column", GAP), ("runs failed", "failed"), ("nothing run", GAP), ("all done", "n/a")],
)
@pytest.mark.parametrize("kind", WITH_ROWS)
def test_gaps_are_named_in_the_figure(kind, situation, gap, drawn):
    texts, _ = drawn(kind, situation)
    assert [text for text in texts if re.search(rf"(^|: ){gap}($| \()", text)]


@pytest.mark.parametrize("kind", TABLES)
def test_runs_of_other_settings_give_no_number_to_a_table(kind, printed):
    other, missing = printed(kind, "runs of other settings"), printed(kind, "one column")
    assert other.table.blocks == missing.table.blocks
    assert other.texts["csv"] == missing.texts["csv"]
    count = [other.results.state(path) for path in other.artefact.runs].count("other settings")
    note = f"{count} {OTHER_SETTINGS}"
    assert count
    assert set(other.table.notes) - set(missing.table.notes) == {note}


@pytest.mark.parametrize("kind", FIGURES)
def test_runs_of_other_settings_give_no_number_to_a_figure(kind, drawn):
    assert drawn(kind, "runs of other settings") == drawn(kind, "one column")


@pytest.mark.parametrize("kind", TABLES)
def test_other_numbers_give_another_table(kind, printed):
    before, after = printed(kind, "one seed"), printed(kind, "other numbers")
    assert before.table.blocks != after.table.blocks
    assert before.texts["csv"] != after.texts["csv"]


@pytest.mark.parametrize("kind", [kind for kind in WITH_ROWS if not KINDS[kind].maps])
def test_other_numbers_give_another_figure(kind, drawn):
    assert drawn(kind, "one seed") != drawn(kind, "other numbers")


def shown(markdown):
    """Markdown as it is shown: without a backslash before punctuation (CommonMark 2.4)."""
    return re.sub(r"\\([!-/:-@[-`{-~])", r"\1", markdown)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("kind", TABLES)
def test_notes_name_protocol_seeds_and_runs(kind, situation, printed):
    page = printed(kind, situation)
    states = [page.results.state(path) for path in page.artefact.runs]
    done, failed = states.count("done"), states.count("failed")
    seeds = ", ".join(map(str, page.artefact.seeds))
    seeds = f"seeds {seeds}" if len(page.artefact.seeds) > 1 else f"seed {seeds}"
    counts = f"{done} runs." if done == len(states) else f"{done} of {len(states)} runs ("
    (note,) = [note for note in page.table.notes if note.startswith("Protocol ")]
    assert note.startswith(f"Protocol {page.artefact.protocol}, {seeds}, {counts}")
    assert any(n.startswith(f"{failed} runs failed; ") for n in page.table.notes) == (failed > 0)
    assert page.names[NOTE] in page.table.notes
    for note in page.table.notes:
        assert f"\n- {note}\n" in shown(page.texts["md"])


@pytest.mark.parametrize("situation", DRAWN)
@pytest.mark.parametrize("kind", FIGURES)
def test_the_caption_names_protocol_and_seeds(kind, situation, bench, drawn):
    artefact = bench.case(situation).artefacts[kind]
    texts, _ = drawn(kind, situation)
    seeds = ", ".join(map(str, artefact.seeds))
    seeds = f"seeds {seeds}" if len(artefact.seeds) > 1 else f"seed {seeds}"
    expected = f"protocol {artefact.protocol}; {seeds}; "
    assert len([text for text in texts if text.startswith(expected)]) == 1


@pytest.mark.parametrize("kind", TABLES)
def test_one_seed_has_no_spread_and_no_dagger(kind, printed):
    entries = printed(kind, "one seed").entries
    assert [entry.text for entry in entries if "±" in entry.text or "†" in entry.text] == []


@pytest.mark.parametrize("kind", TABLES)
def test_methods_with_equal_numbers_have_equal_marks(kind, printed):
    page = printed(kind, "ties")
    first, tied = page.places(page.row(FIRST)), page.places(page.row(TIED))
    assert first == tied
    shown = list(first)
    for panel in {row.panel for row in page.artefact.rows if row.panel}:
        one, *others = (page.places(row) for row in page.artefact.rows if row.panel == panel)
        assert [point for point in others if point != one] == []
        shown += one
    if any(entry.mark for entry in printed(kind, "all done").entries):
        assert "best" in {entry.mark for entry in shown}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("kind", TABLES)
def test_marks_are_those_of_the_two_best_numbers(kind, situation, printed):
    """The best numbers are either the largest or the smallest of those that are compared.

    If several share the first place, the next number may be the third and have no mark.
    """
    page = printed(kind, situation)
    marked = 0
    for group in page.groups():
        by_text = {text: {e.mark for e in group if e.text == text} for text, _ in group}
        assert {len(marks) for marks in by_text.values()} == {1}
        marks = [entry.mark for entry in group if entry.mark]
        marked += len(marks)
        numbers = {  # without the spread
            float(number[0]): entry.mark
            for entry in group
            if (number := re.match(r"[\d.]+", entry.text))
        }
        found = [numbers[number] for number in sorted(numbers)]
        expected = ["best", "second", *[""] * len(found)][: len(found)]
        shared = ["best", *[""] * len(found)][: len(found)] if marks.count("best") > 1 else expected
        allowed = (expected, expected[::-1], shared, shared[::-1])
        assert not marks or found in allowed
    assert marked == sum(bool(entry.mark) for entry in page.entries)


def tex_rest(text):
    """What is special in a line of LaTeX: all that is left without commands and formulas."""
    text = re.sub(r"\\[&%$#_{}]|\\[A-Za-z]+\*?|\$[^$]*\$", "", text)
    assert text.count("{") == text.count("}")
    return re.sub(r"[^%#_^~$&\\<>|]", "", text)


@pytest.mark.parametrize("kind", TABLES)
def test_latex_is_escaped(kind, printed):
    page = printed(kind, "special characters")
    lines = page.texts["tex"].splitlines()
    body = lines[lines.index("\\toprule") + 1 : lines.index("\\bottomrule")]
    rows = [line.removesuffix("\\\\") for line in body if line.endswith("\\\\")]
    assert len(rows) > sum(len(block.lines) for block in page.table.blocks)
    for row in rows:
        alone = row.startswith("\\multicolumn")
        assert tex_rest(row) == "&" * (0 if alone else len(page.table.headings)), row
    (caption,) = [line for line in lines if line.startswith("\\caption")]
    assert tex_rest(caption) == ""
    assert page.texts["tex"].isascii()


@pytest.mark.parametrize("kind", TABLES)
def test_html_is_escaped(kind, printed):
    page = printed(kind, "special characters")
    found = Page(page.texts["html"])
    known = {"meta", "style", "h3", "table", "tr", "th", "td", "br", "b", "u", "ul", "li"}
    assert found.tags <= known
    assert found.texts[0] == page.table.title
    assert page.names[TITLE] in page.table.title
    labels = [line.label for block in page.table.blocks for line in block.lines]
    headings = [name for b in page.table.blocks for name in b.columns or page.table.headings]
    blocks = [block.heading for block in page.table.blocks if block.heading]
    for text in (*labels, *headings, *blocks, *page.table.notes):
        assert text in found.texts


@pytest.mark.parametrize("kind", TABLES)
def test_markdown_has_one_cell_per_entry(kind, printed):
    page = printed(kind, "special characters")
    lines = [line for line in page.texts["md"].splitlines() if line.startswith("| ")]
    split = [re.split(r"(?<!\\)\|", line) for line in lines]
    assert {len(cells) for cells in split} == {len(page.table.headings) + 3}
    labels = [shown(cells[1].strip()) for cells in split]
    expected = [line.label for block in page.table.blocks for line in block.lines]
    assert [label for label in labels if label] == expected


@pytest.mark.parametrize("kind", TABLES)
def test_the_csv_has_every_row_by_its_name(kind, printed):
    page = printed(kind, "special characters")
    fields = {text for line in page.csv for text in line.values()}
    without = {page.names.get(label, label) for label in NO_PLACE.get(kind, ())}
    assert {row.label for row in page.artefact.rows} - fields == without
    assert set(page.artefact.columns) <= fields


@pytest.mark.parametrize("kind", TABLES)
def test_two_columns_are_named_and_do_not_mix(kind, printed):
    two, one = printed(kind, "runs missing"), printed(kind, "one column")
    first, second = two.artefact.columns
    of_first, of_second = ([r for r in two.csv if r["column"] == c] for c in (first, second))
    own = [r for r in one.csv if r["column"] == first]
    shared = ABOUT_ALL_PAIRS.get(kind, set())
    assert [{k: v for k, v in r.items() if k not in shared} for r in of_first] == [
        {k: v for k, v in r.items() if k not in shared} for r in own
    ]
    assert [r | {"column": first} for r in of_second] != of_first
    assert of_first and of_second
    assert second not in one.texts["csv"] + one.texts["md"]
    assert any(first in name for name in one.names_of_blocks() | {one.table.title})
    for column in two.artefact.columns:
        assert any(column in name for name in two.names_of_blocks())
    assert len(two.entries) > len(one.entries)


@pytest.mark.parametrize("kind", WITH_ROWS)
def test_two_columns_are_named_in_the_figure(kind, bench, drawn):
    texts, _ = drawn(kind, "all done")
    unwrapped = [" ".join(text.split()) for text in texts]
    for column in bench.case("all done").artefacts[kind].columns:
        assert [text for text in unwrapped if text.startswith(column)]
