"""Draw one synthetic scene as uint8 pixels, with the same bits on every machine.

The code uses only integer random numbers and elementwise float64 operations whose results IEEE 754
defines exactly: + - * / sqrt, floor, comparisons and selections. Functions such as sin or exp, and
sums in another order, can differ in the last bit between libraries. This is why rotations are
rational points on the unit circle.

Positions and sizes are fractions of the image's side, so one scene can be drawn at any size.
Shape key: S pixels on a side, H x W the window around one object, P random numbers of one object.
"""

import math

import numpy as np

from mdkd import rng
from mdkd.data.scenes_looks import BACKDROPS, CLUTTER, LOOKS, PAINTS, Backdrop, Look

REVISION = 1  # increase it if any pixel changes; it is part of the rule of these data sets

MAX_CLUTTER = 8
_GRID = 3  # objects start in different cells of a 3 x 3 grid, so that none is hidden completely
_DRAWS = 32  # random numbers per object and for the backdrop; more than are used


class Draws:
    """Returns the random numbers of one object, one after another."""

    def __init__(self, unit_P: np.ndarray):
        self._units = iter(unit_P.tolist())

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * next(self._units)

    def choose(self, options: tuple):
        """One of the options."""
        return options[int(next(self._units) * len(options))]


def hsv(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """Convert HSV to red, green and blue in [0, 1]. The hue is in turns and can be any number."""

    def channel(offset: float) -> float:
        sixth = (hue + offset) % 1.0 * 6.0
        return value * (1.0 - saturation * max(0.0, min(sixth, 4.0 - sixth, 1.0)))

    return channel(5 / 6), channel(3 / 6), channel(1 / 6)


def colour(draws: Draws, ranges: tuple[tuple[float, float], ...], spread: float = 0.0):
    """A random colour. ``spread``, in turns, extends the range of hues on both sides."""
    (hue_low, hue_high), saturation, value = ranges
    hue = draws.between(hue_low - spread, hue_high + spread)
    return hsv(hue, draws.between(*saturation), draws.between(*value))


def disc(u, v, x, y, radius):
    """Signed distance to a disc, in units of the shapes' square; negative inside.

    All primitives below return such a distance.
    """
    return np.sqrt((u - x) * (u - x) + (v - y) * (v - y)) - radius


def ring(u, v, x, y, radius, half_width):
    return np.abs(disc(u, v, x, y, radius)) - half_width


def oval(u, v, x, y, a, b):
    return disc((u - x) / a, (v - y) / b, 0.0, 0.0, 1.0) * min(a, b)


def bowl(u, v, x, y, a, b):
    return np.maximum(oval(u, v, x, y, a, b), y - v)


def box(u, v, x, y, half_width, half_height):
    return np.maximum(np.abs(u - x) - half_width, np.abs(v - y) - half_height)


def line(u, v, x0, y0, x1, y1, half_width):
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((u - x0) * dx + (v - y0) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return disc(u - along * dx, v - along * dy, x0, y0, half_width)


def polygon(u, v, *corners):
    """Signed distance to a convex polygon whose corners are clockwise on the screen."""
    points = list(zip(corners[::2], corners[1::2], strict=True))
    distance = None
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        dx, dy = x1 - x0, y1 - y0
        length = math.sqrt(dx * dx + dy * dy)
        edge = ((u - x0) * dy - (v - y0) * dx) / length
        distance = edge if distance is None else np.maximum(distance, edge)
    return distance


PRIMITIVES = {f.__name__: f for f in (disc, ring, oval, bowl, box, line, polygon)}


def texture(kind: str, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    """A boolean mask that is true where the second shade of a texture is visible."""
    if kind == "stripes":
        return np.floor(u / period) % 2.0 == 0.0
    if kind == "checks":
        return (np.floor(u / period) + np.floor(v / period)) % 2.0 == 0.0
    if kind == "dots":
        half = period / 2.0
        du, dv = u % period - half, v % period - half
        return du * du + dv * dv < half * half * 0.4
    raise ValueError(f"no texture {kind!r}")


def draw_object(
    canvas_3SS: np.ndarray, look: Look, draws: Draws, centre: tuple[float, float], spread: float
) -> None:
    """Paint one object. Parts outside the image are cut off."""
    size = canvas_3SS.shape[1]
    half = draws.between(*look.size)
    main = colour(draws, (look.hue, look.saturation, look.value), spread)
    accent = hsv(draws.between(0.0, 1.0), draws.between(0.5, 0.9), draws.between(0.3, 1.0))
    shade = draws.choose((0.45, 0.55, 1.7))  # the texture's second shade relative to the main one
    kind = draws.choose(look.textures)
    period = draws.between(0.35, 0.6)
    exposure = draws.between(0.85, 1.15)
    mirror = draws.choose((-1.0, 1.0))
    t = draws.between(-look.tilt, look.tilt)
    cos, sin = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
    quarter = draws.choose((0, 1, 2, 3)) if look.turns else 0
    for _ in range(quarter):
        cos, sin = -sin, cos

    reach = half * (abs(cos) + abs(sin)) * 1.05
    left, right, top, bottom = (
        min(max(int((position + side) * size) + (side > 0), 0), size)
        for position in centre
        for side in (-reach, reach)
    )
    if left >= right or top >= bottom:
        return
    x = ((np.arange(left, right) + 0.5) / size - centre[0]) / half
    y = (((np.arange(top, bottom) + 0.5) / size - centre[1]) / half)[:, None]
    u, v = mirror * (cos * x + sin * y), cos * y - sin * x

    window = canvas_3SS[:, top:bottom, left:right]
    plain = {"main": main, "accent": accent, **PAINTS}
    textured = None
    for paint, primitive, *numbers in look.shapes:
        fill = np.array([c * exposure for c in plain[paint]])[:, None, None]
        if paint == "main" and kind != "plain":
            if textured is None:
                textured = np.where(texture(kind, u, v, period), np.minimum(fill * shade, 1), fill)
            fill = textured
        # The edge is one pixel wide: coverage decreases from 1 to 0 around distance 0.
        coverage = np.clip(0.5 - PRIMITIVES[primitive](u, v, *numbers) * (half * size), 0.0, 1.0)
        window += coverage * (fill - window)


def draw_backdrop(size: int, backdrop: Backdrop, draws: Draws) -> np.ndarray:
    """Paint a wall or sky and a floor; returns float64 ``[3, S, S]`` in [0, 1]."""
    above, below = colour(draws, backdrop.above), colour(draws, backdrop.below)
    horizon = draws.between(0.35, 0.75)
    period = draws.between(0.08, 0.16)
    y = ((np.arange(size) + 0.5) / size)[:, None]
    x = y.T
    canvas_3SS = np.empty((3, size, size))
    floor_SS = np.broadcast_to(y > horizon, (size, size))
    pattern_SS = floor_SS
    if backdrop.floor != "plain":
        pattern_SS = texture(backdrop.floor, x, y, period)
    for channel in range(3):
        shades_SS = np.where(pattern_SS, below[channel], below[channel] * 0.9)
        canvas_3SS[channel] = np.where(floor_SS, shades_SS, above[channel])
    return canvas_3SS


def render(
    labels: list[str], scene: int, size: int, difficulty: float, *keys: rng.Key
) -> np.ndarray:
    """The image of a label set, uint8 ``[S, S, 3]``; a pure function of its arguments.

    At difficulty 0, each label is drawn once, at the centre of its cell, on the backdrop of its
    scene, in even light, without clutter or noise. Difficulty 1 is the default. At 2, clutter,
    noise and uneven light are twice as strong.
    """
    unit_KP = rng.uniform(
        *keys, "object", np.arange(1 + 2 * len(labels) + MAX_CLUTTER)[:, None], np.arange(_DRAWS)
    )
    scenery, *of_objects = (Draws(unit_P) for unit_P in unit_KP)
    hard = min(difficulty, 1.0)

    own = BACKDROPS[scene % len(BACKDROPS)]
    other = scenery.choose(BACKDROPS)
    canvas_3SS = draw_backdrop(size, own if scenery.between(0, 1) > 0.5 * hard else other, scenery)

    looks = [LOOKS[name] for name in labels]
    looks += [look for look in looks if scenery.between(0, 1) < 0.2 * hard]
    clutter = min(int(scenery.between(1, 7) * difficulty), MAX_CLUTTER)
    cell_K = rng.permutation(_GRID * _GRID, *keys, "cell")
    order_K = rng.permutation(len(looks) + clutter, *keys, "order")
    for position, number in enumerate(order_K.tolist()):
        draws = of_objects[number]
        look = looks[number] if number < len(looks) else draws.choose(CLUTTER)
        row, column = divmod(int(cell_K[position % len(cell_K)]), _GRID)
        centre = tuple(
            0.18 + 0.32 * place + draws.between(-0.11, 0.11) * hard for place in (column, row)
        )
        draw_object(canvas_3SS, look, draws, centre, 0.04 * difficulty)

    gain = 1.0 + scenery.between(-0.3, 0.25) * difficulty
    slope_x, slope_y = (scenery.between(-0.5, 0.5) * difficulty for _ in range(2))
    position_S = (np.arange(size) + 0.5) / size - 0.5
    light_SS = gain * (1.0 + slope_x * position_S + slope_y * position_S[:, None])
    canvas_3SS *= light_SS
    noise_SS = rng.bits(*keys, "noise", np.arange(size * size)).reshape(size, size)
    for channel in range(3):  # each channel uses 16 of the 64 random bits
        sixteen_SS = (noise_SS >> np.uint64(16 * channel)) & np.uint64(0xFFFF)
        canvas_3SS[channel] += (sixteen_SS / 65536.0 - 0.5) * (0.2 * difficulty)
    pixels_3SS = np.floor(np.clip(canvas_3SS, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(pixels_3SS.transpose(1, 2, 0))
