"""The label graph of the synthetic scenes: a mixture of binary Bayesian trees.

An image shows one scene. Given the scene, the labels are drawn along a tree (in general, a
forest) with probabilities P(child | parent). A scene has at most 12 labels, so every statistic is
computed exactly, as a sum over all states. Labels that do not belong to a scene have probability
zero in it. Images without any label are possible: excluding them would break the conditional
independences of the tree.

Shape key: N images, C labels, T states of one scene, A labels of one scene.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdkd import rng
from mdkd.codependence import conditional_information, marginals, pairs, phi, psi
from mdkd.errors import UserError, nearest, show

MAX_LABELS_PER_SCENE = 12

# Per label: the probability of a root, or (parent, P(label | no parent), P(label | parent)).
# Parents come before their children in `classes`, so the first n classes form a valid graph.
BUILT_IN = {
    "classes": [
        *("person", "car", "dog", "parking meter", "chair", "cup", "tv", "cat", "bowl", "bottle"),
        *("ball", "bench", "traffic light", "bicycle", "book", "orange", "kite", "clock", "bus"),
        "potted plant",
    ],
    "scenes": {
        "street": {
            "weight": 0.3,
            "labels": {
                "person": 0.65,
                "car": ["person", 0.35, 0.75],
                "dog": ["person", 0.06, 0.45],
                "parking meter": ["car", 0.08, 0.6],
                "traffic light": ["car", 0.85, 0.25],
                "bicycle": ["person", 0.1, 0.35],
                "bus": ["traffic light", 0.1, 0.5],
            },
        },
        "park": {
            "weight": 0.25,
            "labels": {
                "person": 0.6,
                "dog": ["person", 0.2, 0.65],
                "ball": ["dog", 0.12, 0.7],
                "bench": ["person", 0.85, 0.25],
                "bicycle": ["person", 0.1, 0.4],
                "kite": ["ball", 0.45, 0.15],
                "potted plant": ["bench", 0.12, 0.45],
            },
        },
        "kitchen": {
            "weight": 0.25,
            "labels": {
                "person": 0.5,
                "cup": ["person", 0.4, 0.75],
                "chair": ["person", 0.15, 0.45],
                "bowl": ["cup", 0.25, 0.65],
                "bottle": ["cup", 0.85, 0.25],
                "orange": ["bowl", 0.12, 0.65],
                "clock": ["chair", 0.15, 0.4],
            },
        },
        "living room": {
            "weight": 0.2,
            "labels": {
                "person": 0.45,
                "chair": ["person", 0.35, 0.75],
                "tv": ["chair", 0.85, 0.25],
                "cup": ["chair", 0.1, 0.4],
                "cat": ["chair", 0.15, 0.5],
                "book": ["cup", 0.2, 0.7],
                "clock": ["tv", 0.1, 0.4],
                "potted plant": ["cat", 0.45, 0.15],
            },
        },
    },
}


@dataclass(frozen=True)
class Node:
    """One label of a scene.

    ``label`` and ``parent`` are indices into the graph's classes; the parent of a root is None.
    ``given`` is (P(label | no parent), P(label | parent)); both values are equal for a root.
    """

    label: int
    parent: int | None
    given: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """A forest over some labels, parents first. A fraction ``weight`` of the images shows it."""

    name: str
    weight: float
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Graph:
    """The distribution of label sets: P(scene) and one forest per scene."""

    classes: tuple[str, ...]
    scenes: tuple[Scene, ...]


def parse_graph(data: Any, known: tuple[str, ...], source: str = "graph") -> Graph:
    """Read a graph from ``data``, which has the form of `BUILT_IN`. Weights are scaled to sum to 1.

    Args:
        known: the labels that can be drawn.
        source: the name of the file, for error messages.

    Raises:
        UserError: ``data`` is not a valid graph.
    """

    def require(ok: bool, key: str, message: str) -> None:
        if not ok:
            raise UserError(f"{source}: {key}: {message}")

    def is_number(value: Any, low: float, high: float) -> bool:
        return type(value) in (int, float) and low < value < high

    def check_keys(value: Any, keys: set[str], where: str) -> None:
        require(isinstance(value, dict), where, f"a mapping with the keys {sorted(keys)} is needed")
        require(all(isinstance(key, str) for key in value), where, "its keys must be text")
        for key in [*value, *keys]:
            require(key in keys, f"{where}.{key}", f"unknown key; the keys are {sorted(keys)}")
            require(key in value, f"{where}.{key}", "missing key")

    def parse_node(label: Any, rule: Any, earlier: set[int], where: str) -> Node:
        require(label in classes, where, "not one of the file's classes")
        index = classes.index(label)
        if is_number(rule, 0, 1):
            return Node(index, None, (rule, rule))
        require(
            isinstance(rule, (list, tuple))
            and len(rule) == 3
            and all(is_number(p, 0, 1) for p in rule[1:]),
            where,
            "a root's probability or [parent, P(label | no parent), P(label | parent)] is needed, "
            "probabilities strictly between 0 and 1",
        )
        parent = classes.index(rule[0]) if rule[0] in classes else None
        require(
            parent in earlier, where, f"parent {show(rule[0])} is not a label of this scene above"
        )
        require(parent < index, where, f"parent {show(rule[0])} must come earlier in 'classes'")
        return Node(index, parent, (rule[1], rule[2]))

    check_keys(data, {"classes", "scenes"}, "graph")
    classes = data["classes"]
    require(isinstance(classes, list) and len(classes) > 1, "classes", "a list of 2 or more labels")
    for name in classes:
        require(name in known, "classes", f"no picture of {show(name)}; {nearest(name, known)}")
    require(len(set(classes)) == len(classes), "classes", "a label appears twice")

    require(isinstance(data["scenes"], dict) and bool(data["scenes"]), "scenes", "1 or more scenes")
    scenes = []
    for name, entry in data["scenes"].items():
        where = f"scenes.{name}"
        check_keys(entry, {"weight", "labels"}, where)
        require(is_number(entry["weight"], 0, math.inf), f"{where}.weight", "must be positive")
        labels = entry["labels"]
        require(
            isinstance(labels, dict) and 0 < len(labels) <= MAX_LABELS_PER_SCENE,
            f"{where}.labels",
            f"1 to {MAX_LABELS_PER_SCENE} labels are needed",
        )
        nodes: list[Node] = []
        for label, rule in labels.items():
            earlier = {node.label for node in nodes}
            nodes.append(parse_node(label, rule, earlier, f"{where}.labels.{label}"))
        scenes.append(Scene(str(name), float(entry["weight"]), tuple(nodes)))
    total = math.fsum(scene.weight for scene in scenes)
    scenes = [Scene(scene.name, scene.weight / total, scene.nodes) for scene in scenes]
    return Graph(tuple(classes), tuple(scenes))


def first_labels(graph: Graph, count: int) -> Graph:
    """The distribution of the first ``count`` labels.

    Later labels can be removed without any change, because no kept label depends on them.
    """
    scenes = tuple(
        Scene(scene.name, scene.weight, tuple(n for n in scene.nodes if n.label < count))
        for scene in graph.scenes
    )
    return Graph(graph.classes[:count], scenes)


def sample(graph: Graph, count: int, *keys: rng.Key) -> tuple[np.ndarray, np.ndarray]:
    """Draw label sets, uint8 ``[N, C]``, and scene numbers, int64 ``[N]``.

    Row i depends only on the keys and i.
    """
    index_N = np.arange(count)
    bounds = np.cumsum([scene.weight for scene in graph.scenes])[:-1]
    scene_N = np.searchsorted(bounds, rng.uniform(*keys, "scene", index_N), side="right")
    draw_NC = rng.uniform(*keys, "label", index_N[:, None], np.arange(len(graph.classes)))
    targets_NC = np.zeros(draw_NC.shape, np.uint8)
    for number, scene in enumerate(graph.scenes):
        rows = np.flatnonzero(scene_N == number)
        for node in scene.nodes:
            parent = 0 if node.parent is None else targets_NC[rows, node.parent]
            targets_NC[rows, node.label] = draw_NC[rows, node.label] < np.take(node.given, parent)
    return targets_NC, scene_N


def joint(graph: Graph, scene: Scene | None = None) -> np.ndarray:
    """Exact P(y_k = y_l = y_m = 1), float64 ``[C, C, C]``, of the mixture or of one scene.

    Labels are 0 or 1, so ``[k, k, k]`` is P(y_k = 1) and ``[k, l, l]`` is P(y_k = y_l = 1).
    """
    size = len(graph.classes)
    joint_CCC = np.zeros((size, size, size))
    if scene is None:
        for part in graph.scenes:
            joint_CCC += part.weight * joint(graph, part)
        return joint_CCC
    labels = [node.label for node in scene.nodes]
    state_TA = np.arange(2 ** len(labels))[:, None] >> np.arange(len(labels)) & 1
    p_T = np.ones(len(state_TA))
    for column, node in enumerate(scene.nodes):
        parent_T = 0 if node.parent is None else state_TA[:, labels.index(node.parent)]
        present_T = np.take(node.given, parent_T)
        p_T = p_T * np.where(state_TA[:, column], present_T, 1 - present_T)
    for column, label in enumerate(labels):
        weighted_TA = (p_T * state_TA[:, column])[:, None] * state_TA
        joint_CCC[label][np.ix_(labels, labels)] = weighted_TA.T @ state_TA
    return joint_CCC


def chains(scene: Scene) -> list[tuple[int, int, int]]:
    """All paths k - m - l of the scene's forest, as (k, m, l) with k < l."""
    neighbours: dict[int, set[int]] = {node.label: set() for node in scene.nodes}
    for node in scene.nodes:
        if node.parent is not None:
            neighbours[node.label].add(node.parent)
            neighbours[node.parent].add(node.label)
    return [
        (k, m, other)
        for m, around in neighbours.items()
        for k in sorted(around)
        for other in sorted(around)
        if k < other
    ]


def dependencies(graph: Graph) -> dict:
    """The exact statistics of the labels, as JSON; numbers are rounded to 8 decimals.

    ``edges`` are direct dependencies, with their log-odds ratio within the scene. ``chains`` are
    indirect dependencies, with the conditional mutual information I(end; end | mediator) in nats.
    It is 0 within a scene. It is positive in the mixture, because the scene is a hidden common
    cause of the labels.
    """

    def rounded(array: np.ndarray) -> list:
        return np.round(array, 8).tolist()

    def logit(p: float) -> float:
        return math.log(p / (1 - p))

    classes = graph.classes
    joint_CCC = joint(graph)
    phi_CC, cmi_CCC = phi(joint_CCC), conditional_information(joint_CCC)
    scenes, edges, paths = {}, [], []
    for scene in graph.scenes:
        inside_CCC = joint(graph, scene)
        inside_phi_CC = phi(inside_CCC)
        inside_cmi_CCC = conditional_information(inside_CCC)
        scenes[scene.name] = {
            "weight": round(scene.weight, 8),
            "labels": [classes[node.label] for node in scene.nodes],
            "marginals": rounded(marginals(inside_CCC)),
        }
        for node in scene.nodes:
            if node.parent is None:
                continue
            edges.append(
                {
                    "scene": scene.name,
                    "parent": classes[node.parent],
                    "child": classes[node.label],
                    "p_without_parent": node.given[0],
                    "p_with_parent": node.given[1],
                    "log_odds": round(logit(node.given[1]) - logit(node.given[0]), 8),
                    "phi": round(float(phi_CC[node.parent, node.label]), 8),
                    "phi_in_scene": round(float(inside_phi_CC[node.parent, node.label]), 8),
                }
            )
        for k, m, other in chains(scene):
            paths.append(
                {
                    "scene": scene.name,
                    "ends": [classes[k], classes[other]],
                    "mediator": classes[m],
                    "cmi": round(float(cmi_CCC[k, other, m]), 8),
                    "cmi_in_scene": round(float(inside_cmi_CCC[k, other, m]), 8),
                    "phi": round(float(phi_CC[k, other]), 8),
                    "phi_in_scene": round(float(inside_phi_CC[k, other]), 8),
                }
            )
    return {
        "classes": list(classes),
        "cardinality": round(float(marginals(joint_CCC).sum()), 8),
        "scenes": scenes,
        "edges": edges,
        "chains": paths,
        "marginals": rounded(marginals(joint_CCC)),
        "pairs": rounded(pairs(joint_CCC)),
        "phi": rounded(phi_CC),
        "psi": rounded(psi(joint_CCC)),
    }


def read_graph(record: dict) -> Graph:
    """The inverse of `dependencies`, with the precision of 8 decimals."""
    classes = record["classes"]
    scenes = []
    for name, scene in record["scenes"].items():
        rules = {
            edge["child"]: (
                classes.index(edge["parent"]),
                (edge["p_without_parent"], edge["p_with_parent"]),
            )
            for edge in record["edges"]
            if edge["scene"] == name
        }
        nodes = []
        for label in scene["labels"]:
            k = classes.index(label)
            p = scene["marginals"][k]
            nodes.append(Node(k, *rules.get(label, (None, (p, p)))))
        scenes.append(Scene(name, scene["weight"], tuple(nodes)))
    return Graph(tuple(classes), tuple(scenes))
