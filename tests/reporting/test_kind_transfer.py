"""The kind transfer, from runs with known predictions."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from dependency_cases import (
    ORDERS,
    TARGETS,
    TEACHER,
    TEACHER_P,
    artefact,
    blocks,
    enumerated,
    of,
    predicted,
    scenes_cache,
    write_run,
)
from matplotlib import pyplot as plt
from reporting_cases import COLUMN, markdown_row, row, table_texts

from mdkd import records
from mdkd.errors import UserError
from mdkd.reporting.kinds import transfer


@pytest.fixture
def results(tmp_path):
    return predicted(tmp_path)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A cache of the embedded data."""
    base = tmp_path_factory.mktemp("scenes")
    return base, scenes_cache(base)


def brute(p_NC, other_NC, truth=None):
    """phi over pairs and CMI over triples, from sums over label sets, in the table's units."""
    sets = np.array(list(itertools.product((0, 1), repeat=5)))

    def weights(p_NC):
        return np.mean([np.where(sets == 1, p, 1 - p).prod(axis=1) for p in p_NC], axis=0)

    def phi(w, k, m):
        return np.cov(sets[:, [k, m]].T, aweights=w, ddof=0)[0, 1] / math.sqrt(
            np.prod([w @ sets[:, c] * (1 - w @ sets[:, c]) for c in (k, m)])
        )

    def cmi(w, k, m, given):
        def p(**at):
            return w[np.all([sets[:, c] == at[n] for n, c in names.items() if n in at], 0)].sum()

        names, total = {"a": k, "b": m, "c": given}, 0.0
        for a, b, c in itertools.product((0, 1), repeat=3):
            if (joint := p(a=a, b=b, c=c)) > 1e-12:
                total += joint * math.log(joint * p(c=c) / (p(a=a, c=c) * p(b=b, c=c)))
        return total

    w, v = weights(p_NC), weights(other_NC)
    pairs = list(itertools.combinations(range(5), 2))
    triples = [(k, m, c) for k, m in pairs for c in range(5) if c not in (k, m)]
    return (
        100 * math.sqrt(np.mean([(phi(w, *pair) - phi(v, *pair)) ** 2 for pair in pairs])),
        1e3 * math.sqrt(np.mean([(cmi(w, *t) - cmi(v, *t)) ** 2 for t in triples])),
    )


SOFT = np.clip(TEACHER_P, 0.05, 0.95)  # labels that vary


def test_errors_of_transfer(results):
    other = np.random.default_rng(3).uniform(0.05, 0.95, SOFT.shape)
    write_run(results, TEACHER, SOFT)
    write_run(results, of("mld")[0], other)
    made = artefact("transfer", ORDERS)
    rows = [made.rows[0], row("MLD", "method", of("mld")[:1]), made.rows[5]]
    text = table_texts(replace(made, rows=rows), results)["md"]
    found = blocks(text)
    batch, instance, true = found.values()
    assert [heading for heading in found] == [
        "error against the teacher, batch level",
        "error against the teacher, instance level",
        "error against the counted test labels, batch level",
    ]
    assert "|  | Ψ_2 | Ψ_3 | Ψ_6 | φ | CMI |" in batch
    numbers = [entry.strip("*") for entry in markdown_row(batch, "MLD")]
    expected = [100 * enumerated(other, SOFT, order, "batch") for order in (2, 3)]
    assert numbers[:3] == [*(f"{value:.2f}" for value in expected), "n/a"]
    assert [float(number) for number in numbers[3:]] == pytest.approx(brute(other, SOFT), abs=6e-3)
    assert "|  | Φ_2 | Φ_3 | Φ_6 |  |  |" in instance
    numbers = [entry.strip("*") for entry in markdown_row(instance, "MLD")]
    expected = [100 * enumerated(other, SOFT, order, "instance") for order in (2, 3)]
    assert numbers == [*(f"{value:.2f}" for value in expected), "n/a", "", ""]
    numbers = [entry.strip("*") for entry in markdown_row(true, "MLD")]
    labels_psi = 100 * enumerated(other, TARGETS.astype(float), 2, "batch")
    assert numbers[0] == f"{labels_psi:.2f}"
    assert markdown_row(batch, "PKT") == ["–", "–", "n/a", "–", "–"]
    assert "| Teacher |" in true
    assert "| Teacher |" not in batch
    assert f"- {COLUMN}: Psi batch 6, Psi instance 6: n/a: the data set has fewer labels." in text
    assert "b = 3." in text


def test_transfer_is_ranked_by_the_least_error(results):
    batch = blocks(table_texts(artefact("transfer", ORDERS), results)["md"])[
        "error against the teacher, batch level"
    ]
    assert markdown_row(batch, "MLD")[0].startswith("**")
    assert markdown_row(batch, "MLD") == markdown_row(batch, "MDKD")
    assert markdown_row(batch, "RKD")[0].endswith("†")
    assert markdown_row(batch, "PS") == ["failed", "failed", "n/a", "failed", "failed"]
    assert markdown_row(batch, "L2D") == ["n/a"] * 5


def test_the_true_graph_judges_phi_of_linked_pairs(scenes, results):
    base, opened = scenes
    split = opened.splits["test"]
    results = replace(results, base=base)
    facts = {"targets_NC": split.targets_NC, "ids": split.ids, "classes": list(opened.classes)}
    write_run(results, TEACHER, split.targets_NC.astype(float), **facts)  # it knows everything
    for path in of("mld"):
        write_run(results, path, np.full(split.targets_NC.shape, 0.5), **facts)
    made = artefact("transfer", {"orders": [2]})
    frame, _ = transfer.errors(replace(made, rows=made.rows[:3]), results)
    values = frame[frame["reference"] == "truth"].set_index(["row", "measure", "scope"])["mean"]

    graph = records.read_json(results.cache("scenes") / "graph.json")
    index = {name: k for k, name in enumerate(graph["classes"])}
    counted = np.nan_to_num(np.corrcoef(split.targets_NC.T))
    exact = {(index[e["parent"]], index[e["child"]]): e["phi"] for e in graph["edges"]}
    errors = [counted[pair] - value for pair, value in exact.items()]
    expected = np.sqrt(np.mean(np.square(errors)))
    assert values["Test labels", "phi", "direct"] == pytest.approx(expected, abs=1e-6)
    assert values["Teacher", "phi", "direct"] == pytest.approx(expected, abs=1e-6)
    # labels of a constant probability depend on nothing
    expected = np.sqrt(np.mean(np.square(list(exact.values()))))
    assert values["MLD", "phi", "direct"] == pytest.approx(expected, abs=1e-6)
    mediated = {
        (*sorted(index[end] for end in chain["ends"]), index[chain["mediator"]]): chain["cmi"]
        for chain in graph["chains"]
    }
    indirect = {t: v for t, v in mediated.items() if t[:2] not in exact and t[1::-1] not in exact}
    assert len(indirect) < len(mediated)
    expected = 10 * np.sqrt(np.mean(np.square(list(indirect.values()))))
    assert values["MLD", "CMI", "indirect"] == pytest.approx(expected, abs=1e-5)
    upper = np.triu_indices(len(index), 1)
    expected = np.sqrt(np.mean(np.array(graph["psi"])[upper] ** 2))
    assert values["MLD", "Psi batch", "2"] == pytest.approx(expected, abs=1e-7)


def dots(axis):
    """The rows at which an axis has dots, of each legend's text."""
    return {
        bars.get_label(): [round(y) for x, y in bars.lines[0].get_xydata() if np.isfinite(x)]
        for bars in axis.containers
    }


def test_the_figure_of_transfer_does_not_compare_the_teacher_with_itself(scenes, results):
    base, opened = scenes
    split = opened.splits["test"]
    results = replace(results, base=base)
    facts = {"targets_NC": split.targets_NC, "ids": split.ids, "classes": list(opened.classes)}
    for path, shift in ((TEACHER, 0.2), (of("mld")[0], 0.3)):
        write_run(results, path, split.targets_NC * 0.5 + shift, **facts)
    made = artefact("transfer", {"orders": [2, 3]})
    made = replace(made, rows=[made.rows[0], row("MLD", "method", of("mld")[:1]), made.rows[5]])
    figure = transfer.figure(made, results)
    psi, instance, phi, cmi = figure.axes
    assert dots(psi) == dots(instance) == {"order 2": [1], "order 3": [1]}
    assert dots(phi) == dots(cmi) == {"against the teacher": [1], "against the truth": [0, 1]}
    assert [text.get_text() for text in psi.texts] == ["is the reference", "–"]
    assert [text.get_text() for text in phi.texts] == ["–"]
    frame, _ = transfer.errors(made, results)
    floor = frame[frame["row"] == "Test labels"].set_index(["measure", "scope"])["mean"]
    for axis, measure in ((phi, "phi"), (cmi, "CMI")):
        (line,) = [line for line in axis.lines if line.get_label() == transfer.FLOOR]
        assert line.get_xdata()[0] == pytest.approx(100 * floor[measure, "all"])
    legends = [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
    assert legends[0] == ["order 2", "order 3"]
    assert legends[1] == ["against the teacher", "against the truth", transfer.FLOOR]
    plt.close(figure)


def test_without_counted_labels_the_figure_has_no_floor(results):
    figure = transfer.figure(artefact("transfer", ORDERS), results)
    assert len(figure.legends[1].get_texts()) == 2
    plt.close(figure)


def test_a_cache_of_other_labels_is_refused(scenes, results):
    with pytest.raises(UserError, match="other labels than the trained networks"):
        other = replace(results, base=scenes[0])
        write_run(other, TEACHER, TEACHER_P)
        transfer.errors(artefact("transfer", ORDERS), other)
