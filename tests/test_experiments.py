"""What experiments may say beyond a plain comparison, and what the plan makes of it."""

import pytest
import yaml
from conftest import ROOT, edit_yaml

from mdkd.cli import main
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

PAIR = {"dataset": "scenes", "teacher": "resnet20", "student": "resnet8"}
STEM = "distill/scenes/resnet20--resnet8"


def artefact(config, name="mine", protocol="smoke", **keys):
    """The artefact of an experiment with these keys."""
    content = {"kind": "comparison", "title": "T", "pairs": [PAIR], "methods": ["mld"]} | keys
    (config / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    plan = make_plan(Specification(config, {"protocol": protocol}))
    plan.refuse_broken([name])
    return plan.artefacts[name]


def runs(artefact):
    return [cell.runs[0].split("/", 1)[1] for row in artefact.rows for cell in row.cells]


@pytest.fixture(scope="module")
def paper():
    return make_plan(Specification(ROOT / "config", {"protocol": "paper"}))


@pytest.fixture(scope="module")
def quick():
    return make_plan(Specification(ROOT / "config", {"protocol": "quick"}))


def test_a_row_has_the_base_and_what_it_sets(config):
    found = artefact(
        config,
        base={"mdkd": {"bd2": 0, "bd3": 0}},
        methods=[
            {"method": "mdkd", "label": "Neither"},
            {"method": "mdkd", "label": "Second", "set": {"bd2": 1}},
            {"method": "mdkd", "label": "Other", "set": {"bd2": 2, "id4": 0}},
            "mld",
        ],
    )
    assert [row.label for row in found.rows] == ["Teacher", "Neither", "Second", "Other", "MLD"]
    variants = [row.cells[0].runs[0].split("/")[-2] for row in found.rows[1:]]
    assert variants == ["bd2-0_bd3-0", "bd3-0", "bd2-2_bd3-0_id4-0", "default"]


def test_a_sensitivity_study_has_a_row_per_point_and_shares_the_default(config):
    options = {"method": "mdkd", "settings": ["bd2", "id4"], "points": [0, 0.25, 1]}
    found = artefact(config, kind="sensitivity", methods=["vanilla", "mdkd"], options=options)
    points = [(row.panel, row.x, row.cells[0].runs[0]) for row in found.rows if row.panel]
    path = f"{STEM}/mdkd/{{}}/seed0"
    assert points == [
        ("bd2", 0, path.format("bd2-0")),
        ("bd2", 0.25, path.format("bd2-0.25")),
        ("bd2", 1, path.format("default")),
        ("id4", 0, path.format("id4-0")),
        ("id4", 0.25, path.format("id4-0.25")),
        ("id4", 1, path.format("default")),
    ]
    assert [row.label for row in found.rows[:3]] == ["Teacher", "Student", "MDKD"]
    assert found.rows[3].label == "bd2 = 0"
    assert len(found.runs) == 1 + 2 * (1 + 1 + 4)


def test_pairs_are_taken_over_from_other_experiments_once(config):
    other = PAIR | {"teacher": "resnet14"}
    artefact(config, "first", pairs=[PAIR, other])
    found = artefact(config, "second", pairs=[PAIR], pairs_of=["first"], methods=["mld"])
    assert [pair.teacher for pair in found.pairs] == ["resnet20", "resnet14"]


def test_rows_are_taken_over_from_other_experiments_with_their_settings(config):
    rows = ["vanilla", {"method": "mdkd", "label": "No pairs", "set": {"bd3": 0}}]
    artefact(config, "first", methods=rows, base={"mdkd": {"bd2": 0}})
    found = artefact(config, "second", methods_of=["first"], methods=["mld", "vanilla"])
    assert [row.label for row in found.rows] == ["Teacher", "Student", "No pairs", "MLD"]
    assert found.rows[2].cells[0].runs[0] == f"{STEM}/mdkd/bd2-0_bd3-0/seed0"
    keys = {"methods_of": ["first"], "methods": []}
    assert [row.label for row in artefact(config, "third", **keys).rows[1:]] == (
        ["Student", "No pairs"]
    )


@pytest.mark.parametrize("key", ["pairs_of", "methods_of"])
def test_experiments_that_refer_to_each_other_are_refused(config, key):
    (config / "experiments" / "other.yaml").write_text(
        yaml.safe_dump({"kind": "comparison", "title": "T", "methods": ["mld"], key: ["mine"]})
    )
    with pytest.raises(UserError, match=r"mine\.yaml: pairs_of, methods_of: refers to itself by"):
        artefact(config, **{key: ["other"]})


def test_a_protocol_takes_what_it_does_not_say_from_the_one_it_extends(config):
    file = config / "protocols" / "mine.yaml"
    file.write_text("extends: smoke\nseeds: [7]\nchanges: {}\n")
    smoke, mine = (Specification(config, {"protocol": name}) for name in ("smoke", "mine"))
    assert mine.seeds == [7] != smoke.seeds
    assert mine.protocol.recipe == smoke.protocol.recipe
    assert mine.protocol.stand_ins == smoke.protocol.stand_ins != {}
    file.write_text("extends: smok\n")
    with pytest.raises(UserError, match=r"smok\.yaml: no such file; did you mean 'smoke'"):
        Specification(config, {"protocol": "mine"})
    file.write_text("extends: smoke\nepochs: 3\n")
    with pytest.raises(UserError, match=r"mine\.yaml: unknown key 'epochs'"):
        Specification(config, {"protocol": "mine"})
    (config / "protocols" / "other.yaml").write_text("extends: mine\n")
    with pytest.raises(UserError, match=r"other\.yaml: extends: 'mine' itself extends 'smoke'; "):
        Specification(config, {"protocol": "other"})


def test_stand_ins_replace_pairs_of_their_data_sets_alone(config):
    stand_ins = {"voc2007": "scenes", "resnet101": "resnet20", "resnet34": "resnet8"}
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(stand_ins=stand_ins))
    big = {"dataset": "voc2007", "teacher": "resnet101", "student": "resnet34"}
    reverse = {"dataset": "voc2007", "teacher": "resnet34", "student": "resnet101"}
    equal = {"dataset": "voc2007", "teacher": "resnet8", "student": "resnet34"}
    own = {"dataset": "scenes", "teacher": "resnet101", "student": "resnet34"}
    found = artefact(config, pairs=[big, PAIR, reverse, equal, own], methods=["mld"])
    assert [pair.names() for pair in found.pairs] == [
        ("scenes", "resnet20", "resnet8"),  # two pairs that became one
        ("scenes", "resnet8", "resnet20"),
        ("scenes", "resnet101", "resnet34"),  # on this data set names mean what they say
    ]
    note = "Stand-ins of protocol smoke: Scenes, ResNet20, ResNet8. Not comparable"
    assert any(text.startswith(note) for text in found.notes)


def test_a_pair_of_one_net_alone_is_an_error(config):
    stand_ins = {"voc2007": "scenes", "resnet101": "resnet8", "resnet34": "resnet8"}
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(stand_ins=stand_ins))
    pair = {"dataset": "voc2007", "teacher": "resnet101", "student": "resnet34"}
    with pytest.raises(UserError, match=r"mine\.yaml: methods: stand_ins of the protocol leave no"):
        artefact(config, pairs=[pair])


def test_a_protocol_changes_keys_of_an_experiment(config):
    changes = {"mine": {"title": "Short", "options": {"resamples": 7}}}
    (config / "experiments" / "mine.yaml").touch()
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(changes=changes))
    found = artefact(config, kind="ranks", options={})
    assert (found.title, found.options) == ("Short", {"resamples": 7})
    assert artefact(config, "other", kind="ranks").options == {"resamples": 1000}


def test_published_numbers_come_from_the_named_file(config):
    table = config / "reported" / "mine.csv"
    table.write_text(
        "dataset,teacher,student,method,mAP,OF1,CF1\n"
        "scenes,resnet20,resnet8,Teacher,73.02,73.81,68.24\n"
        "scenes,resnet20,resnet8,MLD,70.5,,66.20\n"
        "scenes,resnet14,resnet8,MLD,1,2,3\n"
    )
    found = artefact(config, reported="mine", methods=["vanilla", "mld"])
    cells = {row.label: row.cells[0].reported for row in found.rows}
    assert cells == {
        "Teacher": {"mAP": 0.7302, "OF1_k": 0.7381, "CF1_k": 0.6824},
        "Student": {},
        "MLD": {"mAP": 0.705, "CF1_k": 0.662},
    }
    assert found.reported
    assert not artefact(config).reported


def test_numbered_rows_of_a_published_table(config):
    table = config / "reported" / "mine.csv"
    table.write_text("row,mAP,OF1,CF1\n1,70.55,72.17,66.20\n2,71.21,72.85,67.43\n4,71,72,68\n")
    methods = [{"method": "vanilla", "reported": 1}, {"method": "mld", "reported": 4}]
    found = artefact(config, reported="mine", methods=methods)
    assert [row.cells[0].reported.get("mAP") for row in found.rows] == [None, 0.7055, 0.71]
    assert "Published rows with unknown settings: row 2: 71.21 / 72.85 / 67.43." in found.notes


def test_the_papers_tables_have_all_published_numbers(paper):
    """Every line of a file stands beside one cell; Table 4 beside the rows its text identifies."""
    for name, lines in (("table1", 45), ("table2", 45), ("table5", 9), ("table4", 6)):
        cells = [cell for row in paper.artefacts[name].rows for cell in row.cells]
        assert sum(len(cell.reported) == 3 for cell in cells) == lines, name
    first = {row.label: row.cells[0].reported for row in paper.artefacts["table1"].rows}
    assert (first["L2D"]["mAP"], first["MDKD"]["mAP"]) == (0.7209, 0.7335)
    ninth = {row.label: row.cells[0].reported for row in paper.artefacts["table4"].rows}
    assert ninth["MLD + BD 2-4 + ID 2-4"] == {"mAP": 0.7415, "OF1_k": 0.7505, "CF1_k": 0.7012}


def test_nothing_published_is_compared_with_stand_ins(quick):
    assert not [name for name, found in quick.artefacts.items() if found.reported]
    stood_in = {name for name, a in quick.artefacts.items() if "Stand-ins" in " ".join(a.notes)}
    assert stood_in >= {"table1", "table2", "table3", "table4", "table5", "table6", "figure4"}
    assert not stood_in & {"comparison", "csv", "photos"}


def test_compare_prints_published_numbers_or_says_why_not(capsys):
    assert main(["compare", "table5", "--protocol", "paper", "--config", str(ROOT / "config")]) == 0
    text = capsys.readouterr().out
    assert "| MDKD | – | 76.89 |  | – | 77.45 |  | – | 73.68 |  |" in text
    assert main(["compare", "--protocol", "quick", "--config", str(ROOT / "config")]) == 2
    assert "no published numbers for what it trains" in capsys.readouterr().err


def test_plan_prints_a_group_of_artefacts_or_the_runs_of_one(capsys):
    def printed(*arguments):
        assert main(["plan", *arguments, "--config", str(ROOT / "config")]) == 0
        return capsys.readouterr().out

    given = ("--protocol", "paper", "--set", "seeds=[3, 4]")
    *runs, last = printed("table4", *given).splitlines()
    plan = make_plan(Specification(ROOT / "config", {"protocol": "paper", "seeds": [3, 4]}))
    students = len(plan.artefacts["table4"].rows) - 1
    assert len(runs) == 1 + 2 * students
    assert last == f"table4: {len(runs)} runs for {1 + students} cells"
    group = plan.only(plan.targets()["ablation"])
    heading = f"Protocol paper: {len(group.runs)} runs for {len(group.artefacts)} artefacts."
    assert printed("ablation", *given).startswith(heading)
    assert {line.split()[2].rsplit("/", 1)[1] for line in runs} == {"seed0", "seed3", "seed4"}
    assert main(["plan", "--set", "seeds=[0", "--config", str(ROOT / "config")]) == 2
    assert "--set seeds=[0: '[0' is not valid YAML; quote it" in capsys.readouterr().err
    assert main(["plan", "tabel4", "--config", str(ROOT / "config")]) == 2
    assert "not in the plan; did you mean 'table4'" in capsys.readouterr().err


def test_targets_are_groups_and_the_artefacts_that_no_group_is_called_after(quick):
    targets = quick.targets()
    assert "table4" in targets["ablation"]
    assert targets["table4"] == ["table4"]
    assert {"figure5", "figure7"} <= set(targets["attention"])
    assert "comparison" not in targets["comparison"]
    assert {"table1", "table2", "table3", "table6"} <= set(targets["comparison"])
    assert {"controls", "scale"} <= set(targets["scale"])
    assert targets["photos"] == ["photos"] and targets["csv"] == ["csv"]
    of_paper = {name for name, artefact in quick.artefacts.items() if "paper" in artefact.targets}
    assert set(targets["paper"]) == of_paper
    assert {"table1", "figure5", "ranks"} <= of_paper
    assert {"reversed", "sensitivity", "dependencies"} <= targets.keys()


def test_the_ablation_is_a_complete_grid(paper):
    """Every level up to every order with MLD, and both levels without it; each once."""
    table = paper.artefacts["table4"]
    found = []
    for row in table.rows[3:]:
        settings = paper.runs[row.cells[0].runs[0]].method.settings
        orders = {
            level: [n for n in range(2, 7) if settings[f"{level}{n}"]] for level in ("bd", "id")
        }
        assert all(settings[f"{level}{n}"] == 1 for level in orders for n in orders[level])
        found.append((settings["mld"], tuple(orders["bd"]), tuple(orders["id"])))
        assert row.label == label_of(*found[-1])
    ladder = [tuple(range(2, n + 1)) for n in range(2, 7)]
    assert sorted(found) == sorted(
        [(10, up, ()) for up in ladder]
        + [(10, (), up) for up in ladder]
        + [(mld, up, up) for mld in (0, 10) for up in ladder]
    )


def label_of(mld, bd, id_):
    """How a row of the ablation must be called."""
    parts = ["MLD"] if mld else []
    for level, orders in (("BD", bd), ("ID", id_)):
        if orders:
            parts.append(f"{level} 2" + (f"-{orders[-1]}" if len(orders) > 1 else ""))
    return " + ".join(parts)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "comparisn"}, "kind: unknown kind 'comparisn'; did you mean 'comparison'?"),
        ({"kind": "ranks", "options": {"resample": 3}}, "options: unknown key 'resample'"),
        ({"kind": "ranks", "options": {"resamples": 0}}, "options: resamples: 0 is not in 1 .."),
        ({"kind": "attention", "options": {"skip": -1}}, "options: skip: -1 is below 0"),
        ({"options": {"x": 1}}, "options: unknown key 'x'"),
        ({"base": {"mdk": {}}}, "base: unknown method 'mdk'; did you mean 'mdkd'?"),
        ({"base": {"mdkd": {"bd9": 1}}, "methods": ["mdkd"]}, "unknown setting 'bd9'"),
        ({"methods": [{"method": "mdkd", "sett": {}}]}, "unknown key 'sett'; did you mean 'set'?"),
        ({"methods": [{"method": "mdk"}]}, "unknown method 'mdk'"),
        ({"targets": ["My target"]}, "targets[0]: 'My target': names are"),
        ({"reported": "table9"}, "no such file; did you mean 'table"),
        ({"pairs_of": ["nothing"]}, "pairs_of: no experiment 'nothing'"),
        ({"pairs": []}, "pairs, methods and metrics must name at least one each"),
        ({"metrics": ["map"]}, "unknown metric 'map'"),
        ({"against": {"MLD": ["Studnt"]}, "methods": ["vanilla", "mld"]}, "mean 'Student'?"),
        ({"against": {"MDKD": ["MLD"]}}, "mine.yaml: against: MDKD: no row is called 'MDKD'"),
        ({"against": {"MLD": ["Teacher"]}}, "against: MLD: no row is called 'Teacher'"),
        ({"against": {"MLD": ["MLD"]}}, "against: MLD: remove the row itself from its list"),
        ({"against": {"MLD": []}}, "against: MLD: is empty; name at least one"),
        ({"against": {"MLD": ["MLD"]}, "kind": "per_label"}, "kinds that do: comparison, scale"),
        (
            {"against": {"MLD": ["Student"]}, "options": {"marks": True}},
            "against: option marks has signs for the student and MLD alone",
        ),
    ],
)
def test_mistakes_name_the_file_the_key_and_the_fix(config, keys, message):
    with pytest.raises(UserError) as caught:
        artefact(config, **keys)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert str(config) in text


def test_the_controls_are_tested_against_mdkd_of_their_weights(quick):
    against = quick.artefacts["controls"].against
    assert against["MDKD"] == ["MLD, as strong", "MDKD, permuted"]
    assert against["MDKD x 100"] == ["MLD, as strong as x 100", "MDKD x 100, permuted"]
    long = quick.artefacts["equal_compute"].against
    assert long == {f: [f"Student, as long as {f}"] for f in ("MDKD", "ReviewKD")}
    assert quick.artefacts["agreement"].against == {}
    assert quick.artefacts["comparison"].against is None


def test_a_protocol_that_changes_an_unknown_experiment_is_refused(config):
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(changes={"tabel1": {}}))
    with pytest.raises(UserError, match="changes: no experiment 'tabel1'"):
        Specification(config)


def test_a_stand_in_for_nothing_known_is_refused(config):
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(stand_ins={"coco": "scenes"}))
    with pytest.raises(UserError, match="stand_ins: unknown"):
        Specification(config)
