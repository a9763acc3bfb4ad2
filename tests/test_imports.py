"""Who may import whom, read from the source: layers with one direction.

`python tests/test_imports.py` prints the layers.
"""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the call as a script
from conftest import ROOT, python

from mdkd.kinds import KINDS

FILES = sorted((ROOT / "mdkd").rglob("*.py"))
TORCH = {"torch", "torchvision", "timm", "pytorch_grad_cam"}
WING = {"mdkd.training", "mdkd.reporting"}
NEEDS_TORCH = ("mdkd.training", "mdkd.models", "mdkd.methods")  # folders; all others do not
FLAT_WITH_TORCH = {"mdkd.outputs", "mdkd.dependencies"}  # the contract of models and methods
FLAT_WITH_TORCH |= {"mdkd.nn"}  # a loss for other projects
BATCHES = {"mdkd.data.augment", "mdkd.data.loader"}  # from the cache to a training


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imports_of(file):
    """Every module that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {child for child in children if child in MODULES}
            if any(f"{node.module}.{alias.name}" not in MODULES for alias in node.names):
                found.add(node.module)
    return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}


IMPORTS = {module: imports_of(file) for module, file in MODULES.items()}


def below(package):
    return {name for name in MODULES if name == package or name.startswith(package + ".")}


def transitive(module):
    """All that comes along with a module, the packages it lies in included."""
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += IMPORTS.get(name, ())
        todo += [name.rpartition(".")[0]] if "." in name and name in MODULES else []
    return seen


def tops(names):
    return {name.split(".")[0] for name in names}


def room(module):
    """The folder of a module below mdkd/, or the module itself if it is in none."""
    return ".".join(module.split(".")[:2])


def layers():
    """Rooms, from those that import nothing of the package to those that nobody imports.

    A room is a folder below mdkd/ or a flat module. It stands one level above the highest room
    that it imports.
    """
    graph = {}
    for module, imports in IMPORTS.items():
        others = {room(name) for name in imports & MODULES.keys()}
        graph.setdefault(room(module), set()).update(others - {room(module), "mdkd"})
    level = {}
    for name in TopologicalSorter(graph).static_order():
        level[name] = 1 + max((level[other] for other in graph[name]), default=-1)
    return [sorted(n for n in level if level[n] == i) for i in range(max(level.values()) + 1)]


def test_the_walk_sees_the_package():
    assert {"mdkd.training.loop", "mdkd.methods.mdkd", "mdkd.data.sources.scenes"} <= set(MODULES)
    assert {"torch", "mdkd.rng", "mdkd.models.build"} <= IMPORTS["mdkd.training.loop"]
    assert "mdkd.training.loop" in IMPORTS["mdkd.cli"]  # inside a function


def test_no_cycles():
    graph = {name: imports & MODULES.keys() for name, imports in IMPORTS.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_folders_and_flat_modules_are_layers_with_one_direction():
    order = [name for level in layers() for name in level]  # raises CycleError
    assert order[-1] == "mdkd.__main__"
    assert {room(module) for module in MODULES} - {"mdkd"} == set(order) - {"mdkd"}


@pytest.mark.parametrize("wing", sorted(WING))
def test_the_two_wings_never_meet(wing):
    (other,) = WING - {wing}
    for module in below(wing):
        assert not transitive(module) & below(other), module


def test_nobody_but_the_command_line_imports_a_wing():
    for wing in WING:
        users = {name for name, imports in IMPORTS.items() if imports & below(wing)}
        verbs = {"mdkd.cli", "mdkd.views"} if wing == "mdkd.reporting" else {"mdkd.cli"}
        assert users - below(wing) == verbs


@pytest.mark.parametrize("module", sorted(MODULES))
def test_torch_is_where_the_layout_says(module):
    """Planning, caching and reporting need no torch; what is loaded lazily counts as well."""
    allowed = module.startswith(NEEDS_TORCH) or module in FLAT_WITH_TORCH | BATCHES
    lazy = module in ("mdkd.cli", "mdkd.__main__")  # the verbs `train` and `attend`
    assert allowed or lazy or not TORCH & tops(transitive(module)), module


ALLOWED = {  # all that a module may import besides the standard library
    "mdkd.errors": set(),
    "mdkd.extras": set(),
    "mdkd.layout": set(),
    "mdkd.records": {"mdkd.errors", "mdkd.faults"},
    "mdkd.yamlfiles": {"mdkd.errors", "mdkd.records", "yaml"},
    "mdkd.config": {"mdkd.errors", "mdkd.plainvalues", "mdkd.runpath", "mdkd.yamlfiles"},
    "mdkd.plainvalues": {"mdkd.errors", "mdkd.yamlfiles"},
    "mdkd.kinds": {"mdkd.config", "mdkd.errors", "mdkd.registry", "mdkd.yamlfiles"},
    "mdkd.rates": {"mdkd.config", "mdkd.yamlfiles"},
    "mdkd.arguments": {"mdkd"},
    "mdkd.runpath": {"mdkd.errors"},
    "mdkd.plugins": {"mdkd.errors", "mdkd.runpath"},
    "mdkd.registry": {"mdkd.errors", "mdkd.plugins"},
    "mdkd.methodfiles": {
        "mdkd.config",
        "mdkd.errors",
        "mdkd.records",
        "mdkd.registry",
        "mdkd.runpath",
        "mdkd.yamlfiles",
    },
    "mdkd.metrics": {"numpy"},
    "mdkd.codependence": {"numpy"},
    "mdkd.rng": {"numpy"},
    "mdkd.outputs": {"torch"},
    "mdkd.dependencies": {"torch"},
    "mdkd.__main__": {"mdkd.cli", "mdkd.faults"},
}


@pytest.mark.parametrize("module", ALLOWED)
def test_small_modules_import_nothing_else(module):
    names = {name if name.startswith("mdkd.") else name.split(".")[0] for name in IMPORTS[module]}
    assert names <= ALLOWED[module]


def test_methods_see_networks_outputs_and_nothing_of_the_training():
    allowed = {"mdkd.outputs", "mdkd.errors", "mdkd.registry", "mdkd.methodfiles", "torch"}
    allowed |= {"mdkd.dependencies"} | below("mdkd.methods")
    for module in below("mdkd.methods"):
        foreign = IMPORTS[module] - allowed
        assert all(name.startswith("torch.") for name in foreign), (module, foreign)


def test_models_know_neither_data_nor_settings():
    for module in below("mdkd.models"):
        known = {"mdkd.errors", "mdkd.outputs", "mdkd.records", "mdkd.weightfiles"}
        known |= below("mdkd.models")
        assert IMPORTS[module] & MODULES.keys() <= known, module


def test_data_and_training_do_not_know_the_specification():
    for module in below("mdkd.data") | {"mdkd.training.loop", "mdkd.training.networks"}:
        assert not IMPORTS[module] & {"mdkd.spec", "mdkd.plan", "mdkd.kinds"}, module


def test_nobody_but_main_imports_the_command_line():
    assert [name for name, imports in IMPORTS.items() if "mdkd.cli" in imports] == ["mdkd.__main__"]


def test_nobody_imports_the_workflow_engine():
    assert not [name for name, imports in IMPORTS.items() if "snakemake" in tops(imports)]


def loaded(code, *names):
    """Which of the packages a piece of code really loads."""
    shown = f"print(sorted({set(names)} & set(sys.modules)))"
    result = python("-c", f"import sys; from pathlib import Path\n{code}\n{shown}")
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


PLANNING = (
    "import mdkd.devices, mdkd.costs, mdkd.data.download, mdkd.plan\n"
    "mdkd.plan.make_plan(mdkd.spec.Specification(Path('config')))"
)


def test_planning_loads_neither_torch_nor_pandas_nor_matplotlib():
    assert loaded(PLANNING, *TORCH, "snakemake", "pandas", "matplotlib", "scipy") == "[]"


def test_listing_the_plan_loads_neither_pandas_nor_matplotlib():
    code = "from mdkd import cli\nassert cli.main(['plan', '--set', 'protocol=smoke']) == 0"
    shown = loaded(code, *TORCH, "pandas", "matplotlib", "seaborn", "scipy").splitlines()
    assert shown[-1] == "[]"


def test_reporting_loads_no_torch():
    code = "import mdkd.cli, mdkd.reporting, mdkd.registry as r\n"
    code += "for n in r.names('mdkd.reporting.kinds'): r.load('mdkd.reporting.kinds', n)"
    assert loaded(code, *TORCH, "pandas") == "['pandas']"


def test_tables_load_no_plotting_library():
    names = [name for name, kind in KINDS.items() if "table" in kind.outputs]
    code = "import mdkd.cli, mdkd.reporting.tables, mdkd.registry as r\n"
    code += f"for n in {names}: r.load('mdkd.reporting.kinds', n)"
    heavy = ("matplotlib", "seaborn", "scipy.stats")
    assert loaded(code, *TORCH, *heavy, "pandas") == "['pandas']"


def test_a_cifar_network_loads_neither_timm_nor_torchvision():
    code = (
        "from mdkd.config import Head; import mdkd.training.loop\n"
        "from mdkd.models import build_network\n"
        "build_network('cifar:resnet8', num_labels=3, image_size=32, stem='small', "
        "head=Head(kind='mldecoder', width=8, heads=2, feedforward=8))"
    )
    assert loaded(code, "torch", "torchvision", "timm") == "['torch']"


if __name__ == "__main__":
    for number, names in enumerate(layers()):
        print(f"{number:2}  {'  '.join(name.removeprefix('mdkd.') for name in names)}")
