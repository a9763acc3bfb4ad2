"""Read and check the specification in ``config/``: every mistake is found here, before any job.

`Specification` holds the checked content with all defaults filled in. An error is one line that
names the file, the key and the nearest valid name.
"""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mdkd import kinds, methodfiles, plugins, published, registry
from mdkd.agreement import SELECTABLE
from mdkd.config import OWN_NET, Dataset, Recipe, check_name, parse
from mdkd.data.sources import facts
from mdkd.errors import UserError, nearest, show
from mdkd.runpath import SUPERVISED_METHOD, is_writable
from mdkd.specfiles import (
    VIEWS,
    ArchEntry,
    DatasetEntry,
    Entry,
    Experiment,
    Pair,
    Protocol,
    read_user,
)
from mdkd.yamlfiles import read_yaml

SHARED_WITH_TEACHER = ("normalisation",)  # of a recipe: both networks see the same pixels
CACHE_SETTINGS = ("val", "damaged")  # of a data set, whatever its source


class Specification:
    """The checked content of a configuration folder under one protocol.

    Args:
        folder: the configuration folder.
        overrides: keys of ``config.yaml`` that are given elsewhere, on the command line say.
        given: where these are given, for messages.

    Attributes:
        methods: with the settings of this protocol.
        method_files: the methods as their own files declare them.
        datasets: with the options of this protocol; see also `resolved`.
        resolved: the data sets as trainings see them.
        recipes: those of networks whose recipe the protocol changes; see also `recipe_of`.
        experiments: with all pairs, all rows (`Entry`) and all options of the kind.
        published: the rows of the published table that an experiment names, by experiment.
        seeds: of all experiments that have none of their own; see also `seeds_of`.
        selected: the experiments that are made if no target is named.
        broken: what is wrong with other experiments, which are left out.
    """

    def __init__(self, folder: Path, overrides: dict[str, Any] | None = None, given: str = "--set"):
        self.folder = folder
        self.overrides, self.given = overrides or {}, given
        self.user = read_user(self._file("config"), self.overrides, given)
        registry.use(self.user.plugins)
        self.protocol_file = self._file(f"protocols/{self.user.protocol}")
        self.protocol = self._protocol()
        self.method_files = methodfiles.read_all()
        self.methods = dict(self.method_files)
        self._change_methods()
        self.archs: dict[str, ArchEntry] = self._entries("architectures", ArchEntry)
        self.datasets: dict[str, DatasetEntry] = self._entries("datasets", DatasetEntry)
        self._check_names_of_protocol()
        self.recipes = {arch: self._recipe(arch) for arch in self.protocol.recipes}
        self.resolved: dict[str, Dataset] = {}
        for name in self.datasets:
            self._resolve_dataset(name, self._file("datasets"))
        self.seeds = self._seeds()
        self.selected, where = self.protocol.experiments, self.protocol_file
        if self.user.experiments is not None:
            self.selected, where = self.user.experiments, self._place_of("experiments")
        if not self.selected:
            raise UserError(f"{where}: experiments: name at least one")
        self.experiments: dict[str, Experiment] = {}
        self.published: dict[str, list[published.Line]] = {}
        for name in self.selected:
            self._add_experiment(name, f"{where}: experiments")
        self.broken: dict[str, UserError] = {}
        for name in sorted(self._there()):
            self._add_if_right(name)

    def lookup(self, table: str, name: str, where: object) -> Any:
        """The entry ``name`` of ``methods``, ``archs`` or ``datasets``, named at ``where``."""
        entries = getattr(self, table)
        if name not in entries:
            kind = {"methods": "method", "archs": "architecture", "datasets": "data set"}[table]
            hint = nearest(name, entries) + (f"; {plugins.HINT}" if table == "methods" else "")
            raise UserError(f"{where}: unknown {kind} '{name}'; {hint}")
        return entries[name]

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def _place_of(self, key: str) -> Path:
        """Where a key of the user's settings is set, for messages: a file, or the call."""
        return Path(self.given) if key in self.overrides else self._file("config")

    def _there(self) -> list[str]:
        return [file.stem for file in (self.folder / "experiments").glob("*.yaml")]

    def _protocol(self) -> Protocol:
        file = self.protocol_file
        content = read_yaml(file)
        if isinstance(content, dict) and "extends" in content:
            name = content.pop("extends")
            check_name(name if isinstance(name, str) else show(name), f"{file}: extends")
            base_file = self._file(f"protocols/{name}")
            base = read_yaml(base_file)
            if isinstance(base, dict) and "extends" in base:
                reason = f"'{name}' itself extends '{base['extends']}'"
                raise UserError(f"{file}: extends: {reason}; extend that one here")
            parse(Protocol, base, str(base_file))
            content = base | content
        return parse(Protocol, content, str(file))

    def _check_names_of_protocol(self) -> None:
        file = self.protocol_file
        for name in self.protocol.datasets:
            self.lookup("datasets", name, f"{file}: datasets")
        for names in self.protocol.stand_ins.items():
            table = "datasets" if names[0] in self.datasets else "archs"
            for name in names:
                self.lookup(table, name, f"{file}: stand_ins")
        for name in self.protocol.changes:
            if name not in (there := self._there()):
                raise UserError(f"{file}: changes: no experiment '{name}'; {nearest(name, there)}")

    def _recipe(self, arch: str) -> Recipe:
        """The recipe of a network for which the protocol has changes."""
        where, changes = f"{self.protocol_file}: recipes: {arch}", self.protocol.recipes[arch]
        if self.lookup("archs", arch, f"{self.protocol_file}: recipes").checkpoint:
            raise UserError(f"{where}: it has a checkpoint, so it is not trained; remove the entry")
        for key in changes:
            if key in VIEWS:
                what = "is the same for all networks, so that they see the same images"
                raise UserError(f"{where}: {key}: {what}; change it in `recipe`")
        return parse(Recipe, asdict(self.protocol.recipe) | changes, where)

    def recipe_of(self, arch: str | None) -> Recipe:
        """The recipe of a network; None: that of networks without changes."""
        return self.recipes.get(arch or "", self.protocol.recipe)

    def _seeds(self) -> list[int]:
        seeds, where = self.user.seeds, self._place_of("seeds")
        if seeds is None:
            seeds, where = self.protocol.seeds, self.protocol_file
        if not seeds:
            raise UserError(f"{where}: seeds: give at least one integer >= 0, found {seeds}")
        return seeds

    def seeds_of(self, experiment: Experiment) -> list[int]:
        """The seeds of a user go before those of an experiment, and these before a protocol's."""
        own = experiment.seeds if self.user.seeds is None else None
        return self.seeds if own is None else own

    def _change_methods(self) -> None:
        """Change settings of methods: as the user says, then as the protocol says."""
        changes = read_yaml(self._file("methods"))
        changes = {} if changes is None else changes  # all lines may be comments
        for content, where in (
            (changes, str(self._file("methods"))),
            (self.protocol.methods, f"{self.protocol_file}: methods"),
        ):
            if not isinstance(content, dict):
                raise UserError(f"{where}: expected settings by method")
            for name, settings in content.items():
                method = self.lookup("methods", name, where)
                changed = method.settings | method.checked(settings, f"{where}: {name}")
                self.methods[name] = replace(method, settings=changed)

    def _entries(self, name: str, cls: type) -> dict[str, Any]:
        file = self._file(name)
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: expected one entry per name")
        return {key: self._entry(cls, key, entry, str(file)) for key, entry in content.items()}

    def _entry(self, cls: type, name: Any, entry: Any, where: str) -> Any:
        check_name(name if isinstance(name, str) else show(name), where)
        return parse(cls, entry, f"{where}: {name}")

    def _resolve_dataset(self, name: str, file: Path) -> None:
        """Check a data set's options and fill in the defaults and the protocol's changes."""
        entry, where = self.datasets[name], f"{file}: {name}"
        try:
            source = registry.load("mdkd.data.sources", entry.source)
        except UserError as error:
            raise UserError(f"{where}: source: {error}") from None
        options = facts(parse(source.Options, entry.options, f"{where}: options"))
        settings = {key: getattr(entry, key) for key in CACHE_SETTINGS}
        whole = {"name": name, "source": entry.source, "image_size": self.protocol.image_size}
        parse(Dataset, whole | settings | {"options": options}, where)
        changes = self.protocol.datasets.get(name, {})
        settings |= {key: value for key, value in changes.items() if key in CACHE_SETTINGS}
        options |= {key: value for key, value in changes.items() if key not in CACHE_SETTINGS}
        place = f"{self.protocol_file}: datasets: {name}"
        options = facts(parse(source.Options, options, place))
        self.resolved[name] = parse(Dataset, whole | settings | {"options": options}, place)

    def _add_if_right(self, name: str) -> None:
        """Check an experiment that nobody asked for. If it is wrong, it is left out."""
        try:
            self._add_experiment(name, self.folder)
        except UserError as error:
            self.broken[name] = error
            known = set(self._entries("datasets", DatasetEntry))
            known = known.union(*(e.datasets for e in self.experiments.values()))
            self.datasets = {key: self.datasets[key] for key in self.datasets if key in known}
            self.resolved = {key: self.resolved[key] for key in self.resolved if key in known}

    def targets_of(self, name: str) -> list[str]:
        """The targets that an experiment belongs to, also if it is wrong in some other place."""
        try:
            content = read_yaml(self._file(f"experiments/{name}"))
        except UserError:
            return [name]
        groups = content.get("targets") if isinstance(content, dict) else None
        return [
            name,
            *(g for g in (groups if isinstance(groups, list) else []) if isinstance(g, str)),
        ]

    def _add_experiment(self, name: str, where: object, users: tuple[str, ...] = ()) -> None:
        """Check an experiment that is named at ``where``.

        ``users`` are those that take over pairs or methods from it.
        """
        if name in self.experiments:
            return
        file = self._file(f"experiments/{name}")
        if name in users:
            raise UserError(
                f"{file}: pairs_of, methods_of: refers to itself by {' and '.join(users)}"
            )
        if name not in (there := self._there()):
            raise UserError(f"{where}: no experiment '{name}'; {nearest(name, there)}")
        check_name(name, str(file))
        content = read_yaml(file)
        experiment = parse(Experiment, content, str(file))
        if changes := self.protocol.changes.get(name, {}):
            place = f"{self.protocol_file}: changes: {name}"
            options = changes.get("options", {})
            if not isinstance(options, dict):
                raise UserError(f"{place}: options: expected keys and values, found {options!r}")
            changes = changes | {"options": experiment.options | options}
            experiment = parse(Experiment, content | changes, place)
        if experiment.kind not in kinds.names():
            hint = f"{nearest(experiment.kind, kinds.names())}; {plugins.HINT}"
            raise UserError(f"{file}: kind: unknown kind '{experiment.kind}'; {hint}")
        for metric in experiment.metrics:
            if metric not in SELECTABLE:
                hint = nearest(metric, SELECTABLE)
                raise UserError(f"{file}: metrics: unknown metric '{metric}'; {hint}")
        for key, entry in experiment.datasets.items():
            found = self._entry(DatasetEntry, key, entry, f"{file}: datasets")
            if found != self.datasets.setdefault(key, found):
                what = f"'{key}' is defined elsewhere too, with other keys"
                raise UserError(f"{file}: datasets: {what}; rename it, or make both the same")
            if key not in self.resolved:
                self._resolve_dataset(key, file)
        self._check_pairs(experiment.pairs, file)
        pairs, rows = list(experiment.pairs), []
        for other in experiment.pairs_of:
            self._add_experiment(other, f"{file}: pairs_of", (*users, name))
            pairs += [pair for pair in self.experiments[other].pairs if pair not in pairs]
        for other in experiment.methods_of:
            self._add_experiment(other, f"{file}: methods_of", (*users, name))
            rows += [row for row in self.experiments[other].methods if row not in rows]
        options = parse(kinds.get(experiment.kind).options, experiment.options, f"{file}: options")
        where = f"{file}: methods"
        rows += [row for row in self._rows(experiment, where) if row not in rows]
        self._check_alike(experiment, rows, where)
        experiment = replace(
            experiment,
            pairs=pairs,
            methods=rows,
            options=asdict(options),
        )
        if not (pairs and experiment.methods and experiment.metrics):
            raise UserError(f"{file}: pairs, methods and metrics must name at least one each")
        self.published[name] = self._published(experiment)
        self.experiments[name] = experiment  # last: now nothing is wrong with it

    def _rows(self, experiment: Experiment, where: str) -> list[Entry]:
        """The rows of an experiment with their checked settings, those of ``base`` included."""
        for name in experiment.base:
            self.lookup("methods", name, where.replace(": methods", ": base"))
        rows = []
        for written in experiment.methods:
            entry = _row_of(written, where)
            self.lookup("methods", entry.method, where)
            changes = experiment.base.get(entry.method, {}) | entry.set
            rows.append(self.checked(replace(entry, set=changes), where))
        return rows

    def _check_alike(self, experiment: Experiment, rows: list[Entry], where: str) -> None:
        for row in rows if kinds.get(experiment.kind).alike else ():
            if changed := [
                *row.recipe,
                *(["teacher_seed"] if row.teacher_seed is not None else []),
            ]:
                what = f"kind '{experiment.kind}' needs one recipe and one teacher for all rows"
                raise UserError(f"{where}: {row.method}: {changed[0]}: {what}; remove the key")

    def checked(self, entry: Entry, where: str) -> Entry:
        """A row with its changes in the types of what they change.

        Raises:
            UserError: a key is unknown, or its value is wrong. The message begins with ``where``.
        """
        method, place = self.lookup("methods", entry.method, where), f"{where}: {entry.method}"
        if entry.teacher_seed is not None and entry.method == SUPERVISED_METHOD:
            raise UserError(f"{place}: teacher_seed: the method has no teacher; remove the key")
        whole = asdict(self.protocol.recipe) | entry.recipe
        recipe = asdict(parse(Recipe, whole, f"{place}: recipe"))
        for key in entry.recipe:
            if key in SHARED_WITH_TEACHER and recipe[key] != getattr(self.protocol.recipe, key):
                what = "a student and its teacher need the same; change it in the protocol"
                raise UserError(f"{place}: recipe: {key}: {what}")
            if not is_writable(recipe[key]):
                what = f"{recipe[key]!r} is not a number of six digits"
                raise UserError(f"{place}: recipe: {key}: {what}")
        changes = {key: recipe[key] for key in entry.recipe}
        return replace(entry, set=method.checked(entry.set, place), recipe=changes)

    def _check_pairs(self, pairs: list[Pair], file: Path) -> None:
        for i, pair in enumerate(pairs):
            where = f"{file}: pairs[{i}]"
            self.lookup("datasets", pair.dataset, where)
            for arch in (pair.teacher, pair.student):
                check_net(
                    self.lookup("archs", arch, where).net, f"{self._file('architectures')}: {arch}"
                )
            if self.archs[pair.student].checkpoint:
                hint = "add an entry without it to train the network"
                raise UserError(f"{where}: student: '{pair.student}' has a checkpoint; {hint}")
            if pair in pairs[:i]:
                raise UserError(f"{where}: appears twice; remove one of them")
            if pair.teacher == pair.student:
                raise UserError(f"{where}: teacher and student are both '{pair.teacher}'")

    def _published(self, experiment: Experiment) -> list[published.Line]:
        if experiment.reported is None:
            return []
        return published.read(self.folder / "reported" / f"{experiment.reported}.csv")


def _row_of(written: Any, where: str) -> Entry:
    """A row in any of the three ways in which an experiment may write it."""
    if isinstance(written, str):
        return Entry(method=written)
    if isinstance(written, dict) and "method" in written:
        return parse(Entry, written, where)
    if isinstance(written, dict) and len(written) == 1:
        ((method, changes),) = written.items()
        return parse(Entry, {"method": method, "set": changes}, where)
    what = "write a name, one name with its settings, or method:"
    raise UserError(f"{where}: {show(written)}: {what}")


def check_net(net: str, where: str) -> None:
    """Check that the module of a user's own network is there; it is not imported."""
    found = re.fullmatch(OWN_NET, net)
    if found and plugins.locate(found["module"]) is None:
        hint = "install its package, or name its folder in `plugins` of config.yaml"
        raise UserError(f"{where}: net: no module '{found['module']}'; {hint}")
