"""Our mattes against Skia, a rasteriser that shares no code and no method with ours.

    python -m benchmarks.matte_peer [--shapes 20]   where numpy and skia-python are (no dependency of ours)

Skia draws 16 times as large and the picture is averaged down: sharp edges as its own cubic paths, soft edges as a mesh
of triangles coloured from 1 on the outline to 0 on the feather's, motion blur as the mean of 64 sharp pictures over the
shutter. Printed are differences of pixels from 0 to 1; Skia's own steps are 1/255 before averaging.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import skia

from model.curves import outline
from model.keyframes import FloatArray, Keyed
from model.mattes import SAMPLES_PER_SEGMENT, Shutter, matte
from model.shapes import Shape

WIDTH, HEIGHT = 240, 160
LARGER = 16
POINTS = 8
OPEN_FRAMES = 0.5
INSTANTS = 64
FRAME = 1001.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print("what                     mean over changing pixels   99.9% below   largest   area of both, px")
    for what, make, peer, shutter in CASES:
        differences, areas = [], []
        for _ in range(given.shapes):
            shape = make(rng)
            ours, theirs = matte(shape, FRAME, HEIGHT, WIDTH, shutter=shutter), peer(shape)
            edge = (theirs > 0) & (theirs < 1) | (ours > 0) & (ours < 1)
            differences.append(np.abs(ours - theirs)[edge])
            areas.append((float(ours.sum()), float(theirs.sum())))
        off = np.concatenate(differences)
        area = " ".join(f"{pixels:.2f}" for pixels in np.mean(areas, axis=0))
        print(
            f"{what:24} {off.mean():27.5f} {np.quantile(off, 0.999):14.4f} {off.max():9.4f}   {area}",
            flush=True,
        )


def _sharp(rng: np.random.Generator) -> Shape:
    """A bumpy closed Bezier, moving and turning over eight frames."""
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    radius = rng.uniform(32, 52, POINTS)[:, None]
    along = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * radius * rng.uniform(0.2, 0.32, (POINTS, 1))
    centre = (
        np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius
        + (WIDTH / 2, HEIGHT / 2)
        + rng.uniform(-4, 4, 2)
    )
    first = np.stack([-along, centre, along], axis=1)
    later = first.copy()
    later[:, 1] += rng.uniform(-60, 60, 2) + rng.normal(0, 4, (POINTS, 2))
    return Shape.from_keys(
        "shape", [FRAME - 4, FRAME, FRAME + 4], np.stack([2 * first - later, first, later])
    )


def _soft(side: float, **attributes: float) -> Callable[[np.random.Generator], Shape]:
    """The same with a feather, outward (1) or inward (-1), of another width at every point."""

    def make(rng: np.random.Generator) -> Shape:
        shape = _sharp(rng)
        radial = shape.controls[:, :, 1] - shape.controls[:, :, 1].mean(axis=1, keepdims=True)
        part = side * rng.uniform(0.1, 0.3, (POINTS, 1))
        feather = shape.controls * (1 + part[:, None])
        feather[:, :, 1] = radial * part
        return replace(
            shape,
            feather=Keyed.smooth(shape.frames, feather),
            attributes=tuple((name, Keyed.constant(value)) for name, value in attributes.items()),
        )

    return make


def skia_sharp(shape: Shape, frame: float = FRAME) -> FloatArray:
    """The matte of the outline as Skia's cubics."""
    with _Canvas() as canvas:
        canvas.fill(_path(shape.at(frame)))
    return canvas.averaged()


def skia_blurred(shape: Shape) -> FloatArray:
    """The mean over the shutter's time."""
    times = FRAME + OPEN_FRAMES * ((np.arange(INSTANTS) + 0.5) / INSTANTS - 0.5)
    return np.mean([skia_sharp(shape, time) for time in times], axis=0)


def skia_soft(falloff: float = 1.0) -> Callable[[Shape], FloatArray]:
    """The soft edge as a mesh between outline and feather's outline, filled where both are inside."""

    def draw(shape: Shape) -> FloatArray:
        controls, feather = shape.at(FRAME), shape.feather_at(FRAME)
        assert feather is not None
        feather[:, 1] += controls[:, 1]
        edge, far = (outline(c, "bezier", True, SAMPLES_PER_SEGMENT) for c in (controls, feather))
        outward = np.linalg.norm(far - far.mean(axis=0)) > np.linalg.norm(edge - edge.mean(axis=0))
        inner, outer = (edge, far) if outward else (far, edge)
        with _Canvas() as canvas:
            canvas.fill(_path(controls if outward else feather))
            canvas.mesh(inner, outer)
        return canvas.averaged(falloff)

    return draw


class _Canvas:
    """A picture ``LARGER`` times as large as the matte."""

    def __enter__(self) -> _Canvas:
        self._pixels = np.zeros((HEIGHT * LARGER, WIDTH * LARGER, 4), np.uint8)
        self._canvas = skia.Canvas(self._pixels)
        self._canvas.clear(skia.ColorBLACK)  # opaque, so that a pixel's colour is what is covered of it
        self._canvas.scale(LARGER, LARGER)
        return self

    def __exit__(self, *_: object) -> None:
        del self._canvas

    def fill(self, path: skia.Path) -> None:
        self._canvas.drawPath(path, skia.Paint(AntiAlias=True, Color=skia.ColorWHITE))

    def mesh(self, inner: FloatArray, outer: FloatArray) -> None:
        """Colour the ring between two outlines from 1 inside to 0 outside; where it folds, the larger counts."""
        ring = np.stack([inner, outer], axis=1)
        ring = np.concatenate([ring, ring[:1]]).reshape(-1, 2)
        colours = [skia.ColorWHITE, skia.ColorBLACK] * (len(inner) + 1)
        strip = skia.Vertices(
            skia.Vertices.kTriangleStrip_VertexMode, [skia.Point(*map(float, p)) for p in ring], None, colours
        )
        paint = skia.Paint(BlendMode=skia.BlendMode.kLighten)
        self._canvas.drawVertices(strip, paint, skia.BlendMode.kDst)

    def averaged(self, falloff: float = 1.0) -> FloatArray:
        """The matte [H, W], 0..1."""
        large = (self._pixels[..., 0] / 255.0) ** falloff
        return large.reshape(HEIGHT, LARGER, WIDTH, LARGER).mean(axis=(1, 3))


def _path(controls: FloatArray) -> skia.Path:
    builder = skia.Path()
    builder.moveTo(*map(float, controls[0, 1]))
    for this, following in zip(controls, np.roll(controls, -1, axis=0), strict=True):
        points = (this[1] + this[2], following[1] + following[0], following[1])
        builder.cubicTo(*(float(number) for point in points for number in point))
    builder.close()
    return builder


ONE_INSTANT = Shutter(samples=1)
CASES = (
    ("sharp edge", _sharp, skia_sharp, ONE_INSTANT),
    ("feather outward", _soft(1), skia_soft(), ONE_INSTANT),
    ("feather inward", _soft(-1), skia_soft(), ONE_INSTANT),
    ("feather, falloff 2", _soft(1, ff=2.0), skia_soft(2.0), ONE_INSTANT),
    ("motion blur, 16 samples", _sharp, skia_blurred, Shutter(16, OPEN_FRAMES)),
)


if __name__ == "__main__":
    main()
