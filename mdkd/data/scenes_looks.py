"""The appearance of each label of the synthetic scenes: shapes, colours, textures and sizes.

This module contains only data. Shapes are defined in the square [-1, 1] x [-1, 1], with u to the
right and v downwards, and are painted in their order. A shape is (paint, primitive, *numbers);
`scenes_render` defines the primitives. The paints "main" (textured) and "accent" use the random
colours of the object; the other paints are fixed.

Some labels share colours and shapes on purpose: car and bus; dog and cat; ball, orange and clock;
chair and bench; cup, bowl and bottle. They differ only in a detail or a texture.
"""

from dataclasses import dataclass
from typing import Any

PAINTS = {
    "dark": (0.10, 0.10, 0.13),
    "light": (0.92, 0.91, 0.86),
    "glass": (0.62, 0.78, 0.88),
    "skin": (0.86, 0.66, 0.52),
    "metal": (0.55, 0.57, 0.60),
    "leaf": (0.20, 0.50, 0.18),
    "red": (0.88, 0.16, 0.12),
    "yellow": (0.95, 0.78, 0.12),
    "green": (0.16, 0.75, 0.30),
}

Shape = tuple[Any, ...]  # (paint, primitive, *numbers)


@dataclass(frozen=True)
class Look:
    """The appearance of one label.

    ``hue`` (in turns, may be above 1), ``saturation`` and ``value`` are ranges. ``size`` is the
    range of half the side of the shapes' square, as a fraction of the image's side. ``tilt`` is
    the maximum of |tan(angle / 2)| of the random rotation. ``turns`` adds random quarter turns.
    """

    shapes: tuple[Shape, ...]
    hue: tuple[float, float] = (0.0, 1.0)
    saturation: tuple[float, float] = (0.5, 0.9)
    value: tuple[float, float] = (0.45, 0.95)
    textures: tuple[str, ...] = ("plain",)
    size: tuple[float, float] = (0.13, 0.22)
    tilt: float = 0.08
    turns: bool = False


PAINTWORK: dict[str, Any] = {"hue": (0.0, 1.0), "saturation": (0.6, 0.95), "value": (0.5, 0.95)}
FUR: dict[str, Any] = {"hue": (0.04, 0.11), "saturation": (0.25, 0.7), "value": (0.3, 0.8)}
CHINA: dict[str, Any] = {"hue": (0.5, 0.68), "saturation": (0.2, 0.8), "value": (0.55, 0.95)}
WOOD: dict[str, Any] = {"hue": (0.05, 0.1), "saturation": (0.5, 0.85), "value": (0.3, 0.65)}
ORANGE: dict[str, Any] = {"hue": (0.05, 0.11), "saturation": (0.8, 1.0), "value": (0.8, 1.0)}

LOOKS = {
    "person": Look(
        (
            ("dark", "box", -0.17, 0.68, 0.12, 0.32),
            ("dark", "box", 0.17, 0.68, 0.12, 0.32),
            ("skin", "line", -0.36, -0.3, -0.52, 0.3, 0.09),
            ("skin", "line", 0.36, -0.3, 0.52, 0.3, 0.09),
            ("main", "polygon", -0.42, -0.44, 0.42, -0.44, 0.32, 0.42, -0.32, 0.42),
            ("skin", "disc", 0.0, -0.72, 0.25),
        ),
        textures=("plain", "plain", "stripes"),
        size=(0.16, 0.27),
    ),
    "car": Look(
        (
            ("main", "polygon", -0.62, -0.05, -0.32, -0.48, 0.3, -0.48, 0.62, -0.05),
            ("glass", "polygon", -0.46, -0.06, -0.26, -0.36, 0.24, -0.36, 0.46, -0.06),
            ("main", "box", 0.0, 0.14, 0.96, 0.24),
            ("yellow", "disc", 0.88, 0.1, 0.1),
            ("dark", "disc", -0.55, 0.4, 0.23),
            ("dark", "disc", 0.55, 0.4, 0.23),
        ),
        **PAINTWORK,
        size=(0.16, 0.25),
    ),
    "dog": Look(
        (
            ("main", "line", -0.6, -0.05, -0.92, -0.5, 0.07),
            ("main", "box", -0.42, 0.6, 0.1, 0.35),
            ("main", "box", 0.3, 0.6, 0.1, 0.35),
            ("main", "oval", -0.08, 0.12, 0.62, 0.28),
            ("main", "disc", 0.52, -0.3, 0.28),
            ("main", "oval", 0.8, -0.22, 0.18, 0.12),
            ("dark", "oval", 0.36, -0.25, 0.11, 0.28),
        ),
        **FUR,
        textures=("plain", "dots"),
        size=(0.14, 0.22),
    ),
    "parking meter": Look(
        (
            ("metal", "box", 0.0, 0.45, 0.09, 0.55),
            ("main", "oval", 0.0, -0.45, 0.4, 0.5),
            ("light", "box", 0.0, -0.6, 0.22, 0.13),
            ("dark", "box", 0.0, -0.22, 0.05, 0.12),
        ),
        hue=(0.55, 0.68),
        saturation=(0.1, 0.5),
        value=(0.3, 0.6),
        size=(0.15, 0.22),
    ),
    "chair": Look(
        (
            ("main", "box", -0.44, -0.02, 0.09, 0.95),
            ("main", "box", 0.44, 0.52, 0.09, 0.42),
            ("main", "box", 0.0, 0.12, 0.52, 0.12),
            ("accent", "box", 0.04, -0.04, 0.46, 0.08),
        ),
        **WOOD,
        size=(0.14, 0.23),
    ),
    "cup": Look(
        (
            ("main", "ring", 0.5, 0.0, 0.3, 0.09),
            ("main", "polygon", -0.58, -0.6, 0.5, -0.6, 0.38, 0.62, -0.46, 0.62),
            ("light", "oval", -0.04, -0.6, 0.54, 0.14),
        ),
        **CHINA,
        textures=("plain", "stripes"),
        size=(0.10, 0.16),
    ),
    "tv": Look(
        (
            ("dark", "box", 0.0, 0.66, 0.42, 0.07),
            ("dark", "box", 0.0, -0.06, 0.95, 0.62),
            ("main", "box", 0.0, -0.06, 0.82, 0.49),
        ),
        hue=(0.45, 0.75),
        saturation=(0.3, 0.8),
        value=(0.4, 0.9),
        textures=("plain", "stripes"),
        size=(0.14, 0.23),
    ),
    "cat": Look(
        (
            ("main", "line", -0.6, 0.3, -0.85, -0.65, 0.08),
            ("main", "box", -0.38, 0.62, 0.1, 0.3),
            ("main", "box", 0.26, 0.62, 0.1, 0.3),
            ("main", "oval", -0.1, 0.2, 0.58, 0.3),
            ("main", "polygon", 0.16, -0.3, 0.2, -0.78, 0.5, -0.45),
            ("main", "polygon", 0.44, -0.45, 0.76, -0.78, 0.78, -0.3),
            ("main", "disc", 0.47, -0.25, 0.31),
            ("green", "disc", 0.36, -0.28, 0.07),
            ("green", "disc", 0.6, -0.28, 0.07),
        ),
        **FUR,
        textures=("stripes", "plain"),
        size=(0.15, 0.22),
    ),
    "bowl": Look(
        (
            ("main", "bowl", 0.0, -0.15, 0.92, 0.72),
            ("light", "oval", 0.0, -0.15, 0.92, 0.16),
        ),
        **CHINA,
        textures=("plain", "stripes"),
        size=(0.11, 0.17),
    ),
    "bottle": Look(
        (
            ("main", "box", 0.0, -0.55, 0.13, 0.35),
            ("main", "oval", 0.0, -0.1, 0.33, 0.25),
            ("main", "box", 0.0, 0.42, 0.33, 0.52),
            ("light", "box", 0.0, 0.4, 0.33, 0.18),
            ("accent", "box", 0.0, -0.9, 0.15, 0.1),
        ),
        hue=(0.3, 0.6),
        saturation=(0.4, 0.85),
        value=(0.35, 0.8),
        size=(0.13, 0.20),
        tilt=0.15,
    ),
    "ball": Look(
        (("main", "disc", 0.0, 0.0, 0.88), ("accent", "disc", 0.0, 0.0, 0.28)),
        hue=(0.85, 1.05),
        saturation=(0.7, 1.0),
        value=(0.7, 1.0),
        textures=("stripes", "dots", "checks"),
        size=(0.10, 0.15),
        tilt=1.0,
    ),
    "bench": Look(
        (
            ("dark", "box", -0.7, 0.3, 0.07, 0.4),
            ("dark", "box", 0.7, 0.3, 0.07, 0.4),
            ("main", "box", 0.0, -0.48, 0.95, 0.1),
            ("main", "box", 0.0, -0.2, 0.95, 0.1),
            ("main", "box", 0.0, 0.14, 0.98, 0.12),
        ),
        **WOOD,
        size=(0.15, 0.24),
    ),
    "traffic light": Look(
        (
            ("metal", "box", 0.0, 0.7, 0.08, 0.3),
            ("main", "box", 0.0, -0.25, 0.33, 0.74),
            ("red", "disc", 0.0, -0.7, 0.2),
            ("yellow", "disc", 0.0, -0.25, 0.2),
            ("green", "disc", 0.0, 0.2, 0.2),
        ),
        hue=(0.1, 0.6),
        saturation=(0.0, 0.4),
        value=(0.15, 0.4),
        size=(0.14, 0.22),
    ),
    "bicycle": Look(
        (
            ("dark", "ring", -0.56, 0.28, 0.34, 0.07),
            ("dark", "ring", 0.56, 0.28, 0.34, 0.07),
            ("main", "line", -0.56, 0.28, -0.2, -0.3, 0.07),
            ("main", "line", -0.2, -0.3, 0.4, -0.3, 0.07),
            ("main", "line", 0.4, -0.42, 0.56, 0.28, 0.07),
            ("main", "line", 0.0, 0.28, 0.4, -0.3, 0.07),
            ("main", "line", -0.56, 0.28, 0.0, 0.28, 0.07),
            ("dark", "line", -0.34, -0.38, -0.06, -0.38, 0.07),
            ("dark", "line", 0.4, -0.45, 0.62, -0.5, 0.07),
        ),
        **PAINTWORK,
        size=(0.16, 0.25),
    ),
    "book": Look(
        (
            ("light", "box", 0.05, 0.05, 0.62, 0.82),
            ("main", "box", -0.02, -0.02, 0.6, 0.8),
            ("accent", "box", -0.5, -0.02, 0.1, 0.8),
            ("light", "box", 0.1, -0.35, 0.32, 0.12),
        ),
        hue=(0.6, 0.9),
        saturation=(0.5, 0.9),
        size=(0.12, 0.19),
        tilt=0.4,
        turns=True,
    ),
    "orange": Look(
        (
            ("main", "disc", 0.0, 0.08, 0.8),
            ("dark", "line", 0.0, -0.7, 0.08, -0.95, 0.07),
            ("leaf", "oval", 0.32, -0.78, 0.3, 0.14),
        ),
        **ORANGE,
        textures=("plain", "dots"),
        size=(0.08, 0.13),
        tilt=0.4,
    ),
    "kite": Look(
        (
            ("accent", "line", 0.0, 0.4, 0.25, 0.7, 0.06),
            ("accent", "line", 0.25, 0.7, -0.05, 0.98, 0.06),
            ("main", "polygon", 0.0, -0.95, 0.6, -0.3, 0.0, 0.5, -0.6, -0.3),
            ("accent", "line", 0.0, -0.9, 0.0, 0.45, 0.05),
            ("accent", "line", -0.55, -0.3, 0.55, -0.3, 0.05),
        ),
        hue=(0.85, 1.15),
        saturation=(0.7, 1.0),
        value=(0.7, 1.0),
        textures=("checks", "stripes"),
        size=(0.15, 0.23),
        tilt=0.5,
    ),
    "clock": Look(
        (
            ("main", "disc", 0.0, 0.0, 0.92),
            ("light", "disc", 0.0, 0.0, 0.7),
            ("dark", "line", 0.0, 0.0, 0.0, -0.55, 0.08),
            ("dark", "line", 0.0, 0.0, 0.38, 0.15, 0.08),
        ),
        hue=(0.0, 0.12),
        saturation=(0.4, 0.9),
        value=(0.3, 0.8),
        size=(0.11, 0.17),
        tilt=1.0,
        turns=True,
    ),
    "bus": Look(
        (
            ("main", "box", 0.0, -0.08, 0.96, 0.5),
            ("glass", "box", -0.62, -0.25, 0.22, 0.17),
            ("glass", "box", -0.08, -0.25, 0.22, 0.17),
            ("glass", "box", 0.48, -0.25, 0.22, 0.17),
            ("yellow", "disc", 0.88, 0.25, 0.09),
            ("dark", "disc", -0.55, 0.44, 0.2),
            ("dark", "disc", 0.55, 0.44, 0.2),
        ),
        hue=(0.0, 0.17),
        saturation=(0.7, 0.95),
        value=(0.6, 0.95),
        textures=("plain", "stripes"),
        size=(0.18, 0.27),
    ),
    "potted plant": Look(
        (
            ("leaf", "line", 0.0, 0.3, 0.0, -0.6, 0.06),
            ("leaf", "oval", -0.34, -0.1, 0.36, 0.18),
            ("leaf", "oval", 0.34, -0.25, 0.36, 0.18),
            ("leaf", "oval", -0.26, -0.48, 0.28, 0.16),
            ("leaf", "oval", 0.12, -0.72, 0.2, 0.26),
            ("main", "polygon", -0.46, 0.24, 0.46, 0.24, 0.32, 0.95, -0.32, 0.95),
        ),
        hue=(0.01, 0.06),
        saturation=(0.5, 0.8),
        value=(0.5, 0.8),
        textures=("plain", "stripes"),
        size=(0.14, 0.21),
    ),
}

_ANYTHING: dict[str, Any] = {
    "saturation": (0.3, 0.8),
    "textures": ("plain", "stripes", "dots", "checks"),
    "tilt": 1.0,
    "turns": True,
}
CLUTTER = (
    Look((("main", "disc", 0.0, 0.0, 0.8),), **_ANYTHING, size=(0.04, 0.09)),
    Look((("main", "oval", 0.0, 0.0, 0.95, 0.4),), **_ANYTHING, size=(0.05, 0.12)),
    Look((("main", "box", 0.0, 0.0, 0.9, 0.35),), **_ANYTHING, size=(0.05, 0.12)),
    Look((("main", "box", 0.0, 0.0, 0.7, 0.7),), **_ANYTHING, size=(0.04, 0.09)),
    Look((("main", "polygon", -0.8, 0.7, 0.0, -0.8, 0.8, 0.7),), **_ANYTHING, size=(0.05, 0.11)),
    Look((("main", "ring", 0.0, 0.0, 0.7, 0.12),), **_ANYTHING, size=(0.05, 0.10)),
    Look((("main", "line", -0.9, 0.0, 0.9, 0.0, 0.1),), **_ANYTHING, size=(0.06, 0.16)),
)


@dataclass(frozen=True)
class Backdrop:
    """A wall or sky above a floor.

    ``above`` and ``below`` are ranges of hue, saturation and value. ``floor`` is a texture.
    """

    above: tuple[tuple[float, float], ...]
    below: tuple[tuple[float, float], ...]
    floor: str


# Scene i of the graph uses backdrop i; with more scenes than backdrops, the list is repeated.
BACKDROPS = (
    Backdrop(
        ((0.50, 0.65), (0.05, 0.35), (0.6, 0.9)), ((0.5, 0.7), (0.0, 0.1), (0.3, 0.55)), "plain"
    ),
    Backdrop(
        ((0.52, 0.62), (0.15, 0.45), (0.7, 0.95)), ((0.22, 0.34), (0.3, 0.6), (0.35, 0.65)), "dots"
    ),
    Backdrop(
        ((0.08, 0.18), (0.05, 0.3), (0.65, 0.95)), ((0.05, 0.6), (0.0, 0.2), (0.55, 0.8)), "checks"
    ),
    Backdrop(
        ((0.0, 1.0), (0.05, 0.25), (0.6, 0.9)), ((0.04, 0.09), (0.3, 0.55), (0.4, 0.65)), "stripes"
    ),
)
