"""What the report shows first: as Snakemake renders it, with Jinja and docutils."""

import json
from dataclasses import replace

import comparison_case
import pytest
from page_case import Reader, plan_of

from mdkd import records, reporting
from mdkd.reporting import start, tables

HOSTILE = "{{ 7 * 7 }} {% endraw %} {# a #} `b <c>`__ |d| </table>"


def rendered(text):
    """The HTML that Snakemake makes of a text for the report."""
    jinja2 = pytest.importorskip("jinja2")  # these two come with the extra `benchmark`
    core = pytest.importorskip("docutils.core")
    links = "\n\n.. _Workflow: javascript:show_panel('workflow')\n"  # Snakemake adds such lines
    source = jinja2.Environment(trim_blocks=True).from_string(text + links).render()
    settings = {"report_level": 2, "halt_level": 2}  # a warning is an error
    return core.publish_parts(source, writer="html", settings_overrides=settings)["html_body"]


def made(base, artefact, asked=None):
    """The rendered text and the numbers, after the table of the artefact is written."""
    results = comparison_case.scored(base)
    plan = replace(plan_of(artefact, results), asked=asked)
    reporting.report_table(plan, results, artefact.name)
    reporting.report_page(plan, results)
    reporting.report_start(plan, results)
    folder = results.results / "report"
    numbers = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
    return rendered((folder / "start.rst").read_text(encoding="utf-8")), numbers


def test_it_shows_the_table_and_links_to_the_page(tmp_path):
    html, numbers = made(tmp_path, comparison_case.ARTEFACT)
    reader = Reader(html)
    texts = [text for text in reader.texts if text.strip()]
    assert [text for text in texts if text in ("Teacher", "Student", "MLD", "PKT")] == [
        *("Teacher", "Student", "MLD", "PKT")
    ]
    assert "60.00 ± 10.00" in texts  # the student: 0.5, 0.6 and 0.7
    assert comparison_case.ODD in texts
    (link,) = [a["href"] for tag, a in reader.elements if tag == "a"]
    assert (tmp_path / "results" / "smoke" / link).exists()  # beside the report
    assert numbers == {"Finished runs": len(comparison_case.VALUES)}


def test_hostile_names_stay_text(tmp_path):
    artefact = replace(comparison_case.ARTEFACT, title=HOSTILE)
    html, _ = made(tmp_path, artefact)
    reader = Reader(html)
    assert any(text.startswith(HOSTILE) for text in reader.texts)
    assert [tag for tag, _ in reader.elements].count("table") == 1


def test_the_first_comparison_is_shown_and_all_artefacts_are_listed(tmp_path):
    folder = tmp_path / "tables"
    other = replace(comparison_case.ARTEFACT, name="other", kind="cost", title="Cost")
    figure = replace(comparison_case.ARTEFACT, name="maps", kind="attention", title="Maps")
    for name in ("other", "short"):
        folder.mkdir(exist_ok=True)
        page = f"<!DOCTYPE html><style>x</style>\n<h3>Table {name}</h3>"
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    html = rendered(start.text([other, figure, comparison_case.ARTEFACT], tmp_path))
    texts = Reader(html).texts
    assert "Table short" in texts and "Table other" not in texts
    # as in the menu: the group, then the name of the artefact
    assert [text for text in texts if " > " in text] == [
        "Attention > maps: Maps",
        "Comparison > short: Methods compared",
        "Cost > other: Cost",
    ]
    assert "Table other" in rendered(start.text([figure, other], tmp_path))
    assert "Table" not in rendered(start.text([figure], tmp_path))


def test_artefacts_that_were_asked_for_count(tmp_path):
    results = comparison_case.scored(tmp_path)
    plan = replace(plan_of(comparison_case.ARTEFACT, results), selected=[], asked=["short"])
    reporting.report_start(plan, results)
    numbers = records.read_json(results.results / "report" / "numbers.json")
    assert numbers == {"Finished runs": len(comparison_case.VALUES)}
    reporting.report_start(replace(plan, asked=None), results)
    numbers = records.read_json(results.results / "report" / "numbers.json")
    assert numbers == {"Finished runs": 0}


def test_the_body_of_a_page_with_a_table_has_all_but_its_head(tmp_path):
    results = comparison_case.scored(tmp_path)
    reporting.report_table(plan_of(comparison_case.ARTEFACT, results), results, "short")
    page = (results.results / "tables" / "short.html").read_text(encoding="utf-8")
    body = tables.body(page)
    assert body.startswith("<h3>Methods compared") and page.endswith(body)
