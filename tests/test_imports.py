"""Who may import whom, read from the source: one direction, no cycles, no torch for tables."""

import ast
import sys
from graphlib import TopologicalSorter

import pytest
from conftest import ROOT, python

FILES = sorted((ROOT / "mdkd").rglob("*.py"))


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


def test_the_walk_sees_the_package():
    assert {"mdkd.training.loop", "mdkd.methods.mdkd", "mdkd.data.sources.scenes"} <= MODULES.keys()
    assert {"torch", "mdkd.rng", "mdkd.models.build", "numpy"} <= IMPORTS["mdkd.training.loop"]
    assert "mdkd.training.loop" in IMPORTS["mdkd.cli"]  # a lazy import


def test_no_cycles():
    graph = {name: imports & MODULES.keys() for name, imports in IMPORTS.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


ALLOWED = {  # all that a module may import besides the standard library
    "mdkd.errors": set(),
    "mdkd.kinds": set(),
    "mdkd.config": {"mdkd.errors", "yaml"},
    "mdkd.metrics": {"numpy"},
    "mdkd.rng": {"numpy"},
    "mdkd.outputs": {"torch"},
    "mdkd.dependencies": {"torch"},
    "mdkd.registry": {"mdkd.errors"},
    "mdkd.__main__": {"mdkd.cli"},
}


@pytest.mark.parametrize("module", ALLOWED)
def test_small_modules_import_nothing_else(module):
    names = {name if name.startswith("mdkd.") else name.split(".")[0] for name in IMPORTS[module]}
    assert names <= ALLOWED[module]


NO_TORCH = {
    *("mdkd.codependence", "mdkd.reporting.dataset", "mdkd.data.download", "mdkd.data.unpack"),
    *(
        "mdkd.config",
        "mdkd.spec",
        "mdkd.plan",
        "mdkd.reporting.summary",
        "mdkd.reporting.plots",
        "mdkd.score",
    ),
    *("mdkd.metrics", "mdkd.records", "mdkd.layout", "mdkd.devices", "mdkd.rng", "mdkd.errors"),
    *("mdkd.data.cache", "mdkd.data.decode", "mdkd.reporting.tables", "mdkd.results", "mdkd.kinds"),
    *(
        "mdkd.costs",
        "mdkd.reporting.document",
        "mdkd.reporting.dependencies",
        "mdkd.reporting.statistics",
    ),
    *below("mdkd.reporting.kinds"),
    *below("mdkd.data.sources"),
}


@pytest.mark.parametrize("module", sorted(NO_TORCH))
def test_planning_caching_and_reporting_need_no_torch(module):
    assert not {"torch", "torchvision", "timm"} & tops(transitive(module))


def test_methods_see_networks_outputs_and_nothing_of_the_training():
    allowed = {"mdkd.outputs", "mdkd.errors", "mdkd.registry", "mdkd.dependencies", "torch"}
    for module in below("mdkd.methods"):
        foreign = IMPORTS[module] - allowed - below("mdkd.methods")
        assert all(name.startswith("torch.") for name in foreign), (module, foreign)


FORBIDDEN = {
    "mdkd.models": ("mdkd.methods", "mdkd.data", "mdkd.training.loop", "mdkd.config", "mdkd.plan"),
    "mdkd.data": ("mdkd.models", "mdkd.methods", "mdkd.training.loop", "mdkd.plan", "mdkd.spec"),
    "mdkd.reporting.summary": (
        "mdkd.training.loop",
        "mdkd.models",
        "mdkd.methods",
        "mdkd.data",
        "mdkd.spec",
    ),
    "mdkd.reporting.kinds": (
        "mdkd.training.loop",
        "mdkd.models",
        "mdkd.methods",
        "mdkd.spec",
        "mdkd.training.gradcam",
    ),
    "mdkd.reporting.plots": (
        "mdkd.training.loop",
        "mdkd.models",
        "mdkd.methods",
        "mdkd.data",
        "mdkd.spec",
    ),
    "mdkd.training.loop": (
        "mdkd.plan",
        "mdkd.spec",
        "mdkd.reporting.summary",
        "mdkd.reporting.plots",
        "mdkd.results",
    ),
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_layers_do_not_reach_up_or_across(package):
    for module in below(package):
        for forbidden in FORBIDDEN[package]:
            assert not IMPORTS[module] & below(forbidden), (module, forbidden)


def test_nobody_but_main_imports_the_command_line():
    assert [name for name, imports in IMPORTS.items() if "mdkd.cli" in imports] == ["mdkd.__main__"]


def test_nobody_imports_the_workflow_engine():
    assert not [name for name, imports in IMPORTS.items() if "snakemake" in tops(imports)]


def test_no_torch_is_loaded_by_planning_and_reporting():
    code = (
        "import sys; from pathlib import Path\n"
        "import mdkd.reporting.kinds, mdkd.cli, mdkd.devices, mdkd.plan, mdkd.score\n"
        "mdkd.plan.make_plan(mdkd.spec.Specification(Path('config')))\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'snakemake'} & set(sys.modules)))"
    )
    result = python("-c", code)
    assert result.stdout == "[]\n", result.stderr


def test_a_cifar_network_loads_neither_timm_nor_torchvision():
    code = (
        "import sys; from mdkd.config import Head; import mdkd.training.loop\n"
        "from mdkd.models import build_network\n"
        "build_network('cifar:resnet8', num_labels=3, image_size=32, stem='small', "
        "head=Head(kind='mldecoder', width=8, heads=2, feedforward=8))\n"
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    result = python("-c", code)
    assert result.stdout == "['torch']\n", result.stderr


def test_planning_loads_neither_pandas_nor_matplotlib():
    code = (
        "import sys; from pathlib import Path; import mdkd.plan, mdkd.devices, mdkd.data.download\n"
        "mdkd.plan.make_plan(mdkd.spec.Specification(Path('config')))\n"
        "print(sorted({'pandas', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    result = python("-c", code)
    assert result.stdout == "[]\n", result.stderr
