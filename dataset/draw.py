"""Draw the bundled image set: ten classes of cluttered coloured shapes, 64x64 RGB.

Every image is a pure function of (stream, index): it owns a random generator seeded from those
two numbers only, so any one image can be redrawn alone and in any order.  The streams (train, val,
calib, and plain: no clutter, for the first epochs of the training) never share a seed.  The class
of image ``index`` is ``index % 10``: every stream is balanced, and so is every prefix of it whose
length is a multiple of ten.

Run as a program, it writes ``val.zip``, ``calib.zip`` and ``classes.txt``.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Rng = np.random.Generator
Contours = list[NDArray[np.float64]]  # each [K, 2], x then y, the shape spans about -1..1

SIZE = 64  # image side, pixels
OVERSAMPLE = 4  # masks are filled this much larger, then averaged down: smooth edges
JPEG_QUALITY = 88
SEED = 32901
STREAMS = {"train": 0, "val": 1, "calib": 2, "plain": 3}
COUNTS = {"val": 500, "calib": 100}  # images stored; both multiples of the ten classes
BUNDLED = Path(__file__).resolve().parent.parent / "r329fast" / "deploy" / "bundled"

# --------------------------------------------------------------------------- the ten outlines


def _circle(radius: float = 1.0, points: int = 56) -> NDArray[np.float64]:
    t = np.linspace(0.0, 2.0 * np.pi, points, endpoint=False)
    return radius * np.stack([np.cos(t), np.sin(t)], axis=1)


def disc(rng: Rng) -> Contours:
    """A filled circle."""
    return [_circle()]


def ring(rng: Rng) -> Contours:
    """A circle with a hole; the even-odd fill leaves the inner contour empty."""
    return [_circle(), _circle(rng.uniform(0.42, 0.72))]


def triangle(rng: Rng) -> Contours:
    """Three corners, the angles a little irregular."""
    t = 2.0 * np.pi * np.arange(3) / 3.0 + rng.uniform(-0.28, 0.28, 3)
    return [1.1 * np.stack([np.cos(t), np.sin(t)], axis=1)]


def square(rng: Rng) -> Contours:
    """Four right angles (the later stretch makes rectangles and lozenges of it)."""
    return [0.85 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])]


def star(rng: Rng) -> Contours:
    """Five or six points."""
    points = int(rng.integers(5, 7))
    t = np.pi * np.arange(2 * points) / points
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.1, rng.uniform(0.42, 0.62))
    return [np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1)]


def cross(rng: Rng) -> Contours:
    """A plus sign of twelve corners."""
    w = rng.uniform(0.22, 0.42)
    quarter = np.array([[1.0, -w], [1.0, w], [w, w]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # row vectors times this: a quarter turn
    parts = [quarter @ np.linalg.matrix_power(turn, k) for k in range(4)]
    return [np.concatenate(parts)]


def crescent(rng: Rng) -> Contours:
    """The unit circle less a circle of radius r centred at (d, 0)."""
    d, r = rng.uniform(0.38, 0.62), rng.uniform(0.78, 0.95)
    x = (1.0 - r * r + d * d) / (2.0 * d)  # where the two circles meet
    a = np.arccos(x)
    b = np.arctan2(np.sin(a), x - d)
    outer = np.linspace(a, 2.0 * np.pi - a, 40)
    inner = np.linspace(2.0 * np.pi - b, b, 30)
    curve = np.concatenate(
        [
            np.stack([np.cos(outer), np.sin(outer)], axis=1),
            np.stack([d + r * np.cos(inner), r * np.sin(inner)], axis=1),
        ]
    )
    return [curve + np.array([0.3, 0.0])]


def arrow(rng: Rng) -> Contours:
    """A shaft and a head."""
    shaft, head = rng.uniform(0.16, 0.3), rng.uniform(0.55, 0.8)
    neck = rng.uniform(-0.1, 0.3)
    half = [[-1.0, shaft], [neck, shaft], [neck, head], [1.1, 0.0]]
    other = [[x, -y] for x, y in reversed(half[:-1])]
    return [np.array(half + other)]


def spiral(rng: Rng) -> Contours:
    """A band of constant width wound about two turns."""
    turns, width = rng.uniform(1.7, 2.4), rng.uniform(0.09, 0.13)
    s = np.linspace(0.0, 1.0, 90)
    t = 2.0 * np.pi * turns * s
    way = np.stack([np.cos(t), np.sin(t)], axis=1)
    radius = (0.12 + 0.9 * s)[:, None]
    return [np.concatenate([way * (radius + width), (way * (radius - width))[::-1]])]


def heart(rng: Rng) -> Contours:
    """The classic parametric heart."""
    t = np.linspace(0.0, 2.0 * np.pi, 56, endpoint=False)
    x = 16.0 * np.sin(t) ** 3
    y = 13.0 * np.cos(t) - 5.0 * np.cos(2 * t) - 2.0 * np.cos(3 * t) - np.cos(4 * t)
    return [np.stack([x, -y - 2.0], axis=1) / 15.5]


OUTLINES: dict[str, Callable[[Rng], Contours]] = {
    "disc": disc,
    "ring": ring,
    "triangle": triangle,
    "square": square,
    "star": star,
    "cross": cross,
    "crescent": crescent,
    "arrow": arrow,
    "spiral": spiral,
    "heart": heart,
}
CLASSES = list(OUTLINES)

# --------------------------------------------------------------------------- masks and paint


def fill(contours: Contours) -> Floats:
    """Coverage in 0..1, float32 [64, 64], of contours given in pixels; even-odd rule."""
    shift = 4  # fixed-point fraction bits of the corner coordinates
    scaled = [np.rint(c * (OVERSAMPLE << shift)).astype(np.int32) for c in contours]
    canvas = np.zeros((SIZE * OVERSAMPLE, SIZE * OVERSAMPLE), np.uint8)
    cv2.fillPoly(canvas, scaled, (255,), lineType=cv2.LINE_8, shift=shift)
    small = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255.0)


def place(
    rng: Rng, contours: Contours, centre: NDArray[np.float64], radius: float, wobble: float
) -> Contours:
    """Turn, stretch, bend and move unit contours to pixels; ``radius`` in pixels."""
    turn, axis = rng.uniform(0.0, 2.0 * np.pi, 2)
    stretch = rng.uniform(0.68, 1.0)
    rot = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    along = np.array([[np.cos(axis), np.sin(axis)], [-np.sin(axis), np.cos(axis)]])
    linear = rot @ along @ np.diag([1.0, stretch]) @ along.T
    waves, phases = rng.uniform(2.0, 4.5, 2), rng.uniform(0.0, 2.0 * np.pi, 2)
    placed = []
    for c in contours:
        # The displacement along each axis depends on the other coordinate: a hand-drawn bend.
        bend = wobble * np.sin(c[:, ::-1] * waves + phases)
        placed.append((c + bend) @ linear * radius + centre)
    return placed


def paint(rng: Rng, colour: NDArray[np.float64], strength: float) -> Floats:
    """A textured sheet around ``colour`` (RGB, 0..255): float32 [64, 64, 3]."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / np.float32(SIZE)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    way = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    kind = int(rng.integers(0, 5))
    if kind == 0:  # a plain slope
        field = way - way.mean()
    elif kind == 1:  # soft clouds
        cells = int(rng.integers(3, 9))
        coarse = rng.normal(0.0, 0.5, (cells, cells)).astype(np.float32)
        field = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    elif kind == 2:  # stripes
        field = np.sin(way * np.float32(2.0 * np.pi * rng.uniform(2.0, 9.0))) * np.float32(0.6)
    elif kind == 3:  # a chequered cloth
        cells_x, cells_y = rng.uniform(2.0, 7.0, 2)
        field = np.sin(x * np.float32(2 * np.pi * cells_x)) * np.sin(
            y * np.float32(2 * np.pi * cells_y)
        )
        field = np.sign(field) * np.float32(0.5)
    else:  # almost flat
        field = way * np.float32(0.1)
    tint = rng.normal(0.0, 1.0, 3)
    tint *= strength / (np.linalg.norm(tint) + 1e-6)
    sheet = colour.astype(np.float32) + field[:, :, None] * tint.astype(np.float32)
    return np.asarray(sheet, dtype=np.float32)


def over(image: Floats, mask: Floats, sheet: Floats, opacity: float = 1.0) -> Floats:
    """``sheet`` laid over ``image`` where ``mask`` says; all float32, [64, 64(, 3)]."""
    alpha = mask[:, :, None] * np.float32(opacity)
    return image + (sheet - image) * alpha


def lighter(rng: Rng, ground: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """A random colour whose luma (of 255) is at least ``least`` above that of ``ground``.

    A shape that could be lighter or darker than its ground asks the network to learn every edge
    twice over; a small one then stays at chance for many epochs.
    """
    luma = np.array([0.299, 0.587, 0.114])
    while True:
        colour = rng.uniform(10.0, 250.0, 3)
        if float((colour - ground) @ luma) >= least:
            return colour


def bar(a: NDArray[np.float64], b: NDArray[np.float64], width: float) -> Contours:
    """The rectangle around the segment a-b, pixels."""
    along = (b - a) / (np.linalg.norm(b - a) + 1e-6)
    side = np.array([-along[1], along[0]]) * width / 2.0
    return [np.stack([a + side, b + side, b - side, a - side])]


# --------------------------------------------------------------------------- whole images


def generator(stream: str, index: int) -> Rng:
    """The generator of one image; streams are disjoint by the seed sequence's second word."""
    return np.random.Generator(np.random.PCG64([SEED, STREAMS[stream], index]))


def clutter(rng: Rng, image: Floats) -> Floats:
    """Lines and small shapes of any class: they share the main shape's features, not its size."""
    for _ in range(int(rng.integers(1, 5))):
        a, b = rng.uniform(-4.0, SIZE + 4.0, (2, 2))
        mask = fill(bar(a, b, rng.uniform(0.7, 3.0)))
        image = over(image, mask, paint(rng, rng.uniform(10, 245, 3), 10.0))
    for _ in range(int(rng.integers(1, 5))):
        name = CLASSES[int(rng.integers(0, len(CLASSES)))]
        centre, radius = rng.uniform(2.0, SIZE - 2.0, 2), rng.uniform(3.0, 6.0)
        mask = fill(place(rng, OUTLINES[name](rng), centre, radius, 0.05))
        image = over(image, mask, paint(rng, rng.uniform(10, 245, 3), 15.0))
    return image


def occlude(rng: Rng, image: Floats, centre: NDArray[np.float64], radius: float) -> Floats:
    """Up to two bars or blobs across the main shape."""
    for _ in range(int(rng.integers(0, 3))):
        near = centre + rng.normal(0.0, 0.6 * radius, 2)
        if rng.random() < 0.5:
            angle = rng.uniform(0.0, 2.0 * np.pi)
            reach = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.8, 2.5) * radius
            mask = fill(bar(near - reach, near + reach, radius * rng.uniform(0.15, 0.4)))
        else:
            blob = [_circle()]
            mask = fill(place(rng, blob, near, radius * rng.uniform(0.25, 0.5), 0.2))
        image = over(image, mask, paint(rng, rng.uniform(10, 245, 3), 20.0))
    return image


def develop(rng: Rng, image: Floats) -> Bytes:
    """Light, blur and sensor noise; float32 to uint8, both [64, 64, 3]."""
    light = rng.uniform(0.7, 1.15) * np.ones((2, 2)) + rng.normal(0.0, 0.12, (2, 2))
    image = image * cv2.resize(light.astype(np.float32), (SIZE, SIZE))[:, :, None]
    sigma = rng.uniform(0.0, 1.3)
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32)
    noise = rng.uniform(0.5, 7.0)
    image = image + rng.normal(0.0, noise, image.shape).astype(np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def draw_image(stream: str, index: int) -> tuple[Bytes, int]:
    """Image ``index`` of a stream, before JPEG: uint8 RGB [64, 64, 3], and its class 0..9."""
    rng = generator(stream, index)
    label = index % len(CLASSES)
    ground = rng.uniform(5.0, 150.0, 3)
    image = paint(rng, ground, rng.uniform(10.0, 70.0))
    if stream != "plain":
        image = clutter(rng, image)

    radius = rng.uniform(12.0, 24.0)
    # Larger shapes stray less; a rim of a fifth of the radius may leave the frame.
    margin = 0.8 * radius
    centre = rng.uniform(margin, SIZE - margin, 2)
    contours = place(rng, OUTLINES[CLASSES[label]](rng), centre, radius, rng.uniform(0.0, 0.1))
    colour = lighter(rng, ground, 50.0)
    sheet = paint(rng, colour, rng.uniform(5.0, 60.0))
    image = over(image, fill(contours), sheet, rng.uniform(0.75, 1.0))
    if stream != "plain":
        image = occlude(rng, image, centre, radius)
    return develop(rng, image), label


def encode_jpeg(image: Bytes) -> bytes:
    """RGB uint8 [64, 64, 3] to a JPEG file's bytes, its Huffman tables fitted to the image."""
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    done, data = cv2.imencode(".jpg", bgr, options)
    if not done:
        raise RuntimeError("the JPEG encoder refused an image")
    return data.tobytes()


def decode_jpeg(data: bytes) -> Bytes:
    """A JPEG file's bytes to RGB uint8 [64, 64, 3]."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("not a readable JPEG")
    return np.ascontiguousarray(bgr[:, :, ::-1]).astype(np.uint8, copy=False)


# --------------------------------------------------------------------------- the archives


def write_archive(path: Path, stream: str, count: int) -> int:
    """Write one zip of ``label.txt`` and ``img/``; returns its size in bytes.

    Entries are stored, not deflated, with one fixed date and one fixed system mark, so that the
    bytes depend on nothing but the drawing and the JPEG encoder.
    """
    lines: list[str] = []
    entries: list[tuple[str, bytes]] = []
    for index in range(count):
        image, label = draw_image(stream, index)
        name = f"{stream}_{index:04d}.jpg"
        lines.append(f"{name} {label}\n")
        entries.append((f"img/{name}", encode_jpeg(image)))
    entries.insert(0, ("label.txt", "".join(lines).encode("ascii")))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return path.stat().st_size


def main() -> None:
    """Write the archives and the class names."""
    parser = argparse.ArgumentParser(description="Draw the bundled image set.")
    parser.add_argument("--out", type=Path, default=BUNDLED, help="folder to write into")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "classes.txt").write_bytes("".join(f"{c}\n" for c in CLASSES).encode("ascii"))
    for stream, count in COUNTS.items():
        size = write_archive(args.out / f"{stream}.zip", stream, count)
        print(f"{stream}.zip: {count} images, {size} bytes")


if __name__ == "__main__":
    main()
