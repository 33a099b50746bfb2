"""Synthetic shots whose truth is known: two cameras that look at one flat scene made of photographs.

A camera maps its photograph's pixels to the scene through a lens (radial distortion from photograph to ideal image,
about a centre of its own) and a homography. The package's own model bends the tele side the other way, so the truth
is not of the form that is fitted. The two photographs differ in the scene (a moved patch, a near object), blur,
exposure, white balance, vignetting, tone, noise and JPEG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import skimage
from PIL import Image

from adaptsr_cli.arrays import AnyArray


@dataclass(frozen=True)
class Camera:
    """One photograph's geometry: pixel -> scene.

    ``pitch`` is scene pixels per pixel; k1, k2 and the centre are in half diagonals; perspective is the change of scale
    from middle to corner; relief is the size in scene pixels of a smooth displacement that no lens or plane explains,
    as hilly ground gives.
    """

    width: int
    height: int
    pitch: float
    centre: tuple[float, float]
    angle_deg: float = 0.0
    k1: float = 0.0
    k2: float = 0.0
    lens: tuple[float, float] = (0.0, 0.0)
    perspective: tuple[float, float] = (0.0, 0.0)
    relief: float = 0.0

    def to_scene(self, pixels: AnyArray) -> AnyArray:
        """(..., 2) pixels to scene pixels."""
        unit = np.hypot(self.width, self.height) / 2
        normal = (pixels - np.array([(self.width - 1) / 2, (self.height - 1) / 2])) / unit
        arm = normal - np.array(self.lens)
        square = (arm**2).sum(-1, keepdims=True)
        ideal = normal + arm * (self.k1 * square + self.k2 * square**2)
        angle = np.radians(self.angle_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        ideal = ideal @ turn.T / (1 + ideal @ np.array(self.perspective))[..., None]
        wave = self.relief * np.sin(4.0 * ideal[..., ::-1] + 2.5 * ideal + np.array([0.7, 1.9]))
        return ideal * (unit * self.pitch) + np.array(self.centre) + wave

    def from_scene(self, places: AnyArray) -> AnyArray:
        """The inverse, by Newton's method."""
        middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        found = (places - np.array(self.centre)) / self.pitch + middle
        for _ in range(30):
            steps = [(self.to_scene(found + e) - self.to_scene(found - e)) for e in np.eye(2) * 0.5]
            move = np.linalg.solve(np.stack(steps, -1), (places - self.to_scene(found))[..., None])[..., 0]
            found = found + move
            if np.abs(move).max(initial=0) < 1e-9:
                break
        return found


@dataclass(frozen=True)
class Look:
    """One photograph's colours, sharpness and faults. Gains and vignetting act on linear light."""

    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    black: float = 0.0
    gamma: float = 1.0
    vignette: float = 0.0  # share of linear light that is missing in the corners
    blur: float = 0.6  # own pixels
    noise: float = 1.0  # grey levels
    quality: int = 95

    def shade(self, camera: Camera, pixels: AnyArray) -> AnyArray:
        """Share of light that reaches each pixel."""
        unit = np.hypot(camera.width, camera.height) / 2
        normal = (pixels - np.array([(camera.width - 1) / 2, (camera.height - 1) / 2])) / unit
        return 1 - self.vignette * (normal**2).sum(-1)

    def expose(self, scene: AnyArray, shade: AnyArray) -> AnyArray:
        """Scene grey levels (..., 3) to the photograph's, not clipped at the top."""
        light = _to_light(scene / 255) * np.array(self.gains) * shade[..., None]
        return self.black + (255 - self.black) * _from_light(light) ** self.gamma


@dataclass(frozen=True)
class Shot:
    """Two photographs and what is true of them. Masks and points are in pixels of the wide photograph."""

    wide: AnyArray
    tele: AnyArray
    cameras: tuple[Camera, Camera]
    looks: tuple[Look, Look]
    changed: AnyArray  # (h, w) bool: where the two scenes are visibly different
    touched: AnyArray  # (h, w) bool: where a moved or near thing is, visibly or not

    @property
    def zoom(self) -> float:
        return self.cameras[0].pitch / self.cameras[1].pitch

    def map_points(self, points: AnyArray) -> AnyArray:
        """Wide pixels to tele pixels."""
        return self.cameras[1].from_scene(self.cameras[0].to_scene(points))

    def map_colours(self, points: AnyArray, scene: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Wide's and tele's grey levels of scene colours (n, 3) at wide pixels (n, 2)."""
        wide, tele = self.cameras
        low = self.looks[0].expose(scene, self.looks[0].shade(wide, points))
        high = self.looks[1].expose(scene, self.looks[1].shade(tele, self.map_points(points)))
        return low, high


def photograph(scene: AnyArray, camera: Camera, look: Look, rng: np.random.Generator) -> AnyArray:
    """(h, w, 3) uint8: what the camera sees of a scene of uint8."""
    x, y = np.meshgrid(np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64))
    pixels = np.stack([x, y], -1)
    places = camera.to_scene(pixels)
    low = np.floor(places.min((0, 1))).astype(int) - 20
    high = np.ceil(places.max((0, 1))).astype(int) + 20
    left, top = np.maximum(low, 0)
    cut = scene[top : high[1], left : high[0]].astype(np.float32)
    # The pixel's own area and the lens.
    sigma = camera.pitch * np.hypot(0.35, look.blur)
    cut = cv2.GaussianBlur(cut, (0, 0), sigma)
    x, y = (places - np.array([left, top])).astype(np.float32).transpose(2, 0, 1)
    seen = cv2.remap(cut, np.ascontiguousarray(x), np.ascontiguousarray(y), cv2.INTER_LANCZOS4)
    exposed = look.expose(np.clip(seen, 0, 255), look.shade(camera, pixels))
    exposed = exposed + rng.normal(0, look.noise, exposed.shape)
    image = np.clip(exposed + 0.5, 0, 255).astype(np.uint8)
    if look.quality > 100:
        return image
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=look.quality, subsampling=0 if rng.random() < 0.5 else 2)
    return np.array(Image.open(buffer))


def mosaic(photos: Sequence[AnyArray], width: int, height: int, rng: np.random.Generator) -> AnyArray:
    """A wall of photographs: (height, width, 3) uint8."""
    wall = np.zeros((height, width, 3), np.uint8)
    row = 0
    while row < height:
        column, tall = 0, 10_000
        first = True
        while column < width:
            photo = photos[int(rng.integers(len(photos)))]
            if photo.shape[0] > photo.shape[1]:
                photo = photo.transpose(1, 0, 2)
            if rng.random() < 0.5:
                photo = photo[:, ::-1]
            if first:
                tall, first = photo.shape[0], False
            piece = photo[: min(tall, height - row), : width - column]
            wall[row : row + piece.shape[0], column : column + piece.shape[1]] = piece
            if piece.shape[0] < min(tall, height - row):
                tall = piece.shape[0]
            column += photo.shape[1]
        row += tall
    return wall


def make_shot(
    photos: Sequence[AnyArray] | tuple[AnyArray, AnyArray],
    seed: int,
    *,
    zoom: float | None = None,
    tele_px: tuple[int, int] = (1600, 1200),
    most_wide_px: int = 1600,
    moved: bool = True,
    near: bool = True,
    relief_px: float = 0.0,
    looks: tuple[Look, Look] | None = None,
    scenes: tuple[AnyArray, AnyArray] | None = None,
    change: Callable[[Camera, Camera], tuple[Camera, Camera]] = lambda wide, tele: (wide, tele),
) -> Shot:
    """A shot drawn at random.

    Args:
        photos: (h, w, 3) uint8 each: the scene is a wall of them.
        seed: Of everything.
        zoom: Left out: 1.5 to 5.
        tele_px: (width, height).
        most_wide_px: Longest side of the wide photograph.
        moved: Whether a patch moves between the photographs.
        near: Whether there is a near object with parallax.
        relief_px: Size of a smooth displacement that is no lens's, wide px.
        looks: Left out: drawn.
        scenes: Two aligned scenes in place of photos: of the wide and of the tele photograph.
        change: For cameras of a test's own.
    """
    rng = np.random.default_rng(seed)
    zoom = float(np.exp(rng.uniform(np.log(1.5), np.log(5)))) if zoom is None else zoom
    pitch = float(rng.uniform(1.0, 1.15))
    if scenes is None:
        wide_long = int(min(most_wide_px, 5400 / (zoom * pitch)))
    else:
        wide_long = int(0.9 * scenes[0].shape[1] / (zoom * pitch))
        tele_px = (
            min(tele_px[0], int(scenes[0].shape[1] / pitch / 1.3)),
            min(tele_px[1], int(scenes[0].shape[0] / pitch / 1.3)),
        )
    share = 0.9 * min(1.0, wide_long * zoom / tele_px[0])  # the tele frame must lie within the wide one
    tele_px = int(tele_px[0] * min(1, share / 0.8)), int(tele_px[1] * min(1, share / 0.8))
    wide_px = wide_long, int(wide_long * tele_px[1] / tele_px[0])
    if scenes is None:
        size = int(wide_px[0] * zoom * pitch * 1.1) + 40, int(wide_px[1] * zoom * pitch * 1.1) + 40
        scene = mosaic(photos, *size, rng)
        scene_wide, scene_tele = scene, scene.copy()
    else:
        scene_wide, scene_tele = scenes[0], scenes[1].copy()
        size = scene_wide.shape[1], scene_wide.shape[0]
    middle = size[0] / 2, size[1] / 2

    def lens() -> dict[str, object]:
        return {
            "k1": rng.uniform(-0.03, 0.03),
            "k2": rng.uniform(-0.005, 0.005),
            "lens": tuple(rng.uniform(-0.01, 0.01, 2)),
        }

    wide = Camera(*wide_px, zoom * pitch, middle, **lens())
    off = rng.uniform(-0.02, 0.02, 2) * np.array(tele_px) * pitch
    tele = Camera(
        *tele_px, pitch, (middle[0] + off[0], middle[1] + off[1]), angle_deg=rng.uniform(-3, 3),
        perspective=tuple(rng.uniform(-0.01, 0.01, 2)), relief=relief_px * zoom * pitch, **lens(),
    )  # fmt: skip
    wide, tele = change(wide, tele)
    looks = draw_looks(rng) if looks is None else looks
    touched = np.zeros(scene_tele.shape[:2], bool)
    original = scene_tele.copy()
    span = np.array([tele.width, tele.height]) * pitch
    if moved:
        side = (rng.uniform(0.1, 0.18) * span.min() * np.array([1, 1])).astype(int)
        place = (np.array(tele.centre) + rng.uniform(-0.35, 0.2, 2) * span).astype(int)
        source = (np.array(tele.centre) + rng.uniform(-0.4, 0.3, 2) * span).astype(int)
        patch = original[source[1] : source[1] + side[1], source[0] : source[0] + side[0]]
        scene_tele[place[1] : place[1] + side[1], place[0] : place[0] + side[0]] = patch
        touched[place[1] : place[1] + side[1], place[0] : place[0] + side[0]] = True
    if near:
        # A disc of another photograph, in front; the cameras see it at places that differ by some pixels.
        radius = int(rng.uniform(0.08, 0.14) * span.min())
        at = (np.array(tele.centre) + rng.uniform(-0.1, 0.35, 2) * span).astype(int)
        shift = rng.uniform(1.0, 6.0) * zoom * pitch
        angle = rng.uniform(0, 2 * np.pi)
        move = np.round(shift * np.array([np.cos(angle), np.sin(angle)])).astype(int)
        source = (np.array(tele.centre) + rng.uniform(-0.3, 0.3, 2) * span).astype(int)
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        disc = x**2 + y**2 <= radius**2
        thing = original[source[1] - radius : source[1] + radius + 1, source[0] - radius : source[0] + radius + 1]
        for scene, to in ((scene_wide, at), (scene_tele, at + move)):
            box = slice(to[1] - radius, to[1] + radius + 1), slice(to[0] - radius, to[0] + radius + 1)
            scene[box][disc] = thing[disc]
            touched[box] |= disc
    changed = _visible_change(scene_wide if scenes is None else original, scene_tele, touched, zoom * pitch)
    x, y = np.meshgrid(np.arange(wide.width, dtype=np.float64), np.arange(wide.height, dtype=np.float64))
    places = wide.to_scene(np.stack([x, y], -1)).astype(np.float32)
    masks = [
        cv2.remap(mask.astype(np.uint8), places[..., 0], places[..., 1], cv2.INTER_NEAREST).astype(bool)
        for mask in (changed, touched)
    ]
    return Shot(
        photograph(scene_wide, wide, looks[0], rng), photograph(scene_tele, tele, looks[1], rng), (wide, tele), looks,
        masks[0], masks[1],
    )  # fmt: skip


def draw_looks(rng: np.random.Generator) -> tuple[Look, Look]:
    """Two photographs' looks: the wide one plain, the tele one with gains of up to 20 %."""
    exposure = rng.uniform(0.85, 1.0)
    balance = rng.uniform(0.85, 1.12, 3)
    tele_gains = tuple(float(value) for value in np.clip(exposure * balance, 0.8, 1.2))
    faults = [
        {"vignette": rng.uniform(0, 0.3), "blur": rng.uniform(0.35, 0.7), "noise": rng.uniform(0.5, 3.0),
         "quality": int(rng.integers(85, 98))}
        for _ in range(2)
    ]  # fmt: skip
    wide = Look(**faults[0])
    tele = Look(gains=tele_gains, black=rng.uniform(0, 4), gamma=rng.uniform(0.94, 1.06), **faults[1])
    return wide, tele


def packaged_photos() -> list[AnyArray]:
    """Photographs that travel inside scikit-image, as (h, w, 3) uint8."""
    folder = Path(skimage.__file__).parent / "data"
    names = (
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "motorcycle_left.png",
        "rocket.jpg",
        "brick.png",
        "gravel.png",
    )
    return [np.array(Image.open(folder / name).convert("RGB")) for name in names]


def with_look(shot_looks: tuple[Look, Look], side: int, **changes: object) -> tuple[Look, Look]:
    """The looks with one side's changed."""
    looks = list(shot_looks)
    looks[side] = replace(looks[side], **changes)
    return looks[0], looks[1]


def _visible_change(before: AnyArray, after: AnyArray, touched: AnyArray, pitch: float) -> AnyArray:
    """Where two scenes differ by more than 6 grey levels at the wide photograph's sharpness."""
    changed = np.zeros(touched.shape, bool)
    rows, columns = np.nonzero(touched)
    if len(rows) == 0:
        return changed
    margin = int(4 * pitch)
    box = (
        slice(max(0, rows.min() - margin), rows.max() + margin),
        slice(max(0, columns.min() - margin), columns.max() + margin),
    )
    difference = cv2.GaussianBlur(before[box].astype(np.float32) - after[box].astype(np.float32), (0, 0), 0.7 * pitch)
    changed[box] = np.abs(difference).max(-1) > 6
    return changed


def _to_light(value: AnyArray) -> AnyArray:
    return np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0.04045) + 0.055) / 1.055) ** 2.4)


def _from_light(light: AnyArray) -> AnyArray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)
