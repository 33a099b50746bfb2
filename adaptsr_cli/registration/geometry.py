"""The mapping between two photographs: lens of the one, a homography, lens of the other, and a smooth rest.

Two photographs taken from (nearly) one point show a scene related by a homography once both lenses are ideal. A lens is
described by two radial coefficients and a centre. A point of the LR side goes

    LR pixel --rest--> LR pixel --undistorted--> ideal --homography--> ideal --distorted--> tele pixel

so that no step has to be inverted on the way from LR to tele, the way in which pixels are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.registration.opencv import enlarge_linearly
from adaptsr_cli.registration.planes import Points

_NODE_PX: Final = 8
"""The mapping is computed at the centres of squares of this side and linear between them. Its curvature, a few 1e-4 px
per px^2 for distortions of 3 %, makes that wrong by less than 0.005 px."""


@dataclass(frozen=True)
class Lens:
    """One side's frame and its radial distortion, p -> c + (p - c)(1 + k1 r^2 + k2 r^4).

    Coordinates are in half diagonals from the middle of the photograph, so that r is 1 in the corners.

    Attributes:
        width_px: Of the photograph.
        height_px: Of the photograph.
        k1: Radial, third order.
        k2: Radial, fifth order.
        x: Centre of the distortion c.
        y: Centre of the distortion c.
    """

    width_px: int
    height_px: int
    k1: float = 0.0
    k2: float = 0.0
    x: float = 0.0
    y: float = 0.0

    @property
    def half_diagonal_px(self) -> float:
        """The unit of the lens's coordinates."""
        return float(np.hypot(self.width_px, self.height_px) / 2)

    def normalise(self, points: Points) -> Points:
        """Pixels to half diagonals from the middle."""
        middle = np.array([(self.width_px - 1) / 2, (self.height_px - 1) / 2])
        normal: Points = (points - middle) / self.half_diagonal_px
        return normal

    def denormalise(self, points: Points) -> Points:
        """Half diagonals from the middle to pixels."""
        middle = np.array([(self.width_px - 1) / 2, (self.height_px - 1) / 2])
        pixels: Points = points * self.half_diagonal_px + middle
        return pixels

    def bend(self, points: Points) -> Points:
        """Apply the distortion to normal coordinates."""
        arm = points - np.array([self.x, self.y])
        square = (arm * arm).sum(axis=-1, keepdims=True)
        bent: Points = points + arm * (square * (self.k1 + self.k2 * square))
        return bent


@dataclass(frozen=True)
class SmoothField:
    """A smooth displacement: a polynomial in x and y.

    Attributes:
        degree: Of the polynomial.
        centre: Where its coordinates are 0, px.
        radius_px: Where they are 1.
        coefficients: (terms, 2) px, by `powers`.
    """

    degree: int
    centre: tuple[float, float]
    radius_px: float
    coefficients: tuple[tuple[float, float], ...]

    def at(self, points: Points) -> Points:
        """The displacement at (..., 2) points, px."""
        normal = (points - np.array(self.centre)) / self.radius_px
        # Outside of where it was fitted a polynomial says anything: it stays there at its value on the border.
        normal = np.clip(normal, -1, 1)
        displacement: Points = powers(normal, self.degree) @ np.array(self.coefficients)
        return displacement


def powers(points: Points, degree: int) -> AnyArray:
    """All products x^i y^j with i + j <= degree: (..., 2) -> (..., (degree + 1)(degree + 2) / 2)."""
    x, y = points[..., 0], points[..., 1]
    terms = [x**i * y**j for total in range(degree + 1) for i in range(total, -1, -1) for j in (total - i,)]
    return np.stack(terms, axis=-1)


@dataclass(frozen=True)
class Mapping:
    """Where a point of the LR photograph lies in the tele photograph.

    Attributes:
        homography: Nine numbers by rows, between the normal coordinates of both lenses; the last is 1.
        wide: The LR side's lens; its distortion leads from the photograph to the ideal image.
        tele: The tele side's lens; its distortion leads from the ideal image to the photograph.
        rest: A smooth displacement on the LR side that is applied first; None where it would not help.
    """

    homography: tuple[float, ...]
    wide: Lens
    tele: Lens
    rest: SmoothField | None = None

    def map_points(self, points: Points) -> Points:
        """LR pixels (..., 2) to tele pixels (..., 2)."""
        if self.rest is not None:
            points = points + self.rest.at(points)
        ideal = self.wide.bend(self.wide.normalise(points))
        matrix = np.array(self.homography).reshape(3, 3)
        mapped = ideal @ matrix[:, :2].T + matrix[:, 2]
        # What lies behind the camera cannot be seen; it is sent far away.
        depth = np.where(mapped[..., 2:] > 1e-6, mapped[..., 2:], 1e-6)
        return self.tele.denormalise(self.tele.bend(mapped[..., :2] / depth))

    def inverse_points(self, points: Points, *, steps: int = 20) -> Points:
        """Tele pixels (..., 2) to LR pixels (..., 2), by Newton's method from the homography's inverse."""
        matrix = np.linalg.inv(np.array(self.homography).reshape(3, 3))
        ideal = self.tele.normalise(points) @ matrix[:, :2].T + matrix[:, 2]
        guess = self.wide.denormalise(ideal[..., :2] / ideal[..., 2:])
        for _ in range(steps):
            miss = points - self.map_points(guess)
            step = np.linalg.solve(self.jacobians(guess), miss[..., None])[..., 0]
            guess = guess + step
            if np.abs(step).max(initial=0) < 1e-7:
                break
        return guess

    def jacobians(self, points: Points) -> AnyArray:
        """D tele / d LR at each point, by central differences: (..., 2) -> (..., 2, 2)."""
        half = 0.5
        columns = [
            (self.map_points(points + shift) - self.map_points(points - shift)) / (2 * half)
            for shift in (np.array([half, 0.0]), np.array([0.0, half]))
        ]
        return np.stack(columns, axis=-1)

    def zoom_at(self, points: Points) -> AnyArray:
        """Tele pixels per LR pixel at each point, by area: (..., 2) -> (...)."""
        zoom: AnyArray = np.sqrt(np.abs(np.linalg.det(self.jacobians(points))))
        return zoom

    @property
    def zoom(self) -> float:
        """Tele pixels per LR pixel in the middle of the tele photograph."""
        middle = np.array([[(self.tele.width_px - 1) / 2, (self.tele.height_px - 1) / 2]])
        return float(self.zoom_at(self.inverse_points(middle))[0])

    @property
    def rotation_deg(self) -> float:
        """How far the tele photograph is turned against the LR one, in its middle; clockwise is positive."""
        middle = np.array([[(self.tele.width_px - 1) / 2, (self.tele.height_px - 1) / 2]])
        jacobian = self.jacobians(self.inverse_points(middle))[0]
        return float(np.degrees(np.arctan2(jacobian[1, 0] - jacobian[0, 1], jacobian[0, 0] + jacobian[1, 1])))

    def with_rest(self, rest: SmoothField | None) -> Mapping:
        """The same with another rest."""
        return replace(self, rest=rest)


@dataclass(frozen=True)
class Region:
    """A rectangle of the LR photograph, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """For indexing an image."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def start_mapping(matrix: AnyArray, wide_px: tuple[int, int], tele_px: tuple[int, int]) -> Mapping:
    """A mapping without distortion from a homography between pixels.

    Args:
        matrix: (3, 3), LR pixels to tele pixels.
        wide_px: (width, height) of the LR side.
        tele_px: (width, height) of the tele side.
    """
    wide, tele = Lens(*wide_px), Lens(*tele_px)

    def frame(lens: Lens) -> AnyArray:
        """Normal coordinates to pixels."""
        unit = lens.half_diagonal_px
        return np.array([[unit, 0, (lens.width_px - 1) / 2], [0, unit, (lens.height_px - 1) / 2], [0, 0, 1]])

    normal = np.linalg.inv(frame(tele)) @ matrix @ frame(wide)
    return Mapping(tuple(float(value) for value in (normal / normal[2, 2]).ravel()), wide, tele)


def rescale_wide(mapping: Mapping, width_px: int, height_px: int) -> Mapping:
    """The same mapping for an LR side that was resized to another size; only before a rest is fitted."""
    assert mapping.rest is None
    return replace(mapping, wide=replace(mapping.wide, width_px=width_px, height_px=height_px))


def find_region(mapping: Mapping, *, margin_px: int = 4) -> Region:
    """The smallest rectangle of the LR photograph around what the tele photograph shows of it."""
    width, height = mapping.tele.width_px, mapping.tele.height_px
    along = np.linspace(0, 1, 65)
    zero, one = np.zeros(65), np.ones(65)
    border = np.concatenate(
        [np.stack(side, axis=1) for side in ((along, zero), (along, one), (zero, along), (one, along))]
    )
    seen = mapping.inverse_points(border * np.array([width - 1, height - 1]))
    low = np.clip(np.floor(seen.min(axis=0)) + margin_px, 0, None).astype(int)
    most = np.array([mapping.wide.width_px, mapping.wide.height_px])
    high = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + 1 - margin_px, most)
    return Region(int(low[0]), int(low[1]), max(0, int(high[0] - low[0])), max(0, int(high[1] - low[1])))


def look_up(mapping: Mapping, region: Region, *, per_px: int = 1) -> AnyArray:
    """Where each pixel of a region, or of its enlargement, lies in the tele photograph.

    Args:
        mapping: From LR to tele.
        region: Of the LR photograph.
        per_px: 1 for LR pixels; s for the grid of which s x s pixels cover one of LR exactly.

    Returns:
        (per_px * height, per_px * width, 2) float32: x and y.
    """
    rows, columns = per_px * region.height, per_px * region.width
    down, across = -(-rows // _NODE_PX) + 2, -(-columns // _NODE_PX) + 2
    # Centres of squares of _NODE_PX pixels, with one square more on each side so that nothing is extrapolated.
    y = (np.arange(down) - 1) * _NODE_PX + (_NODE_PX - 1) / 2
    x = (np.arange(across) - 1) * _NODE_PX + (_NODE_PX - 1) / 2
    nodes = np.stack(np.meshgrid(x, y), axis=-1)  # (down, across, 2)
    in_lr = (nodes + 0.5) / per_px - 0.5 + np.array([region.left, region.top])
    # Relative to the first node, which keeps float32 exact to 1e-4 px in photographs of any size.
    mapped = mapping.map_points(in_lr)
    fine = enlarge_linearly(np.ascontiguousarray(mapped), _NODE_PX)
    places: AnyArray = fine[_NODE_PX : _NODE_PX + rows, _NODE_PX : _NODE_PX + columns].astype(np.float32)
    return places
