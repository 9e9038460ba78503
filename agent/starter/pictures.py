"""The starter pictures, drawn by arithmetic: run by the `starter` package as a script, in a child process.

`pictures.py NAME…` writes each picture to standard output: its length on a line, then its bytes.
The same Pillow always draws the same pictures. Standard library and Pillow only.
"""

from __future__ import annotations

import array
import io
import itertools
import math
import os
import random
import sys
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageMath

WIDTH, HEIGHT = SIZE = (1200, 800)
Colour = tuple[int, int, int]
Point = tuple[float, float]


def main() -> None:
    """Draw what is asked for, and leave the processor to whoever needs it more."""
    os.nice(10)
    for name in sys.argv[1:]:
        draw, kind, options = PICTURES[name]
        out = io.BytesIO()
        draw().save(out, kind, **options)
        sys.stdout.buffer.write(b"%d\n" % out.tell() + out.getvalue())
        sys.stdout.buffer.flush()


# Tools


def across(first: float, last: float, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return an image of numbers that grow from left to right."""
    step = (last - first) / (size[0] - 1)
    row = array.array("f", (first + step * x for x in range(size[0])))
    return Image.frombytes("F", (size[0], 1), row.tobytes()).resize(size, Image.Resampling.NEAREST)


def down(first: float, last: float, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return an image of numbers that grow from top to bottom."""
    return across(first, last, size[::-1]).transpose(Image.Transpose.TRANSPOSE)


def mix(stops: Sequence[tuple[float, Colour]], at: float) -> Colour:
    """Return the colour at a place (0 to 1) of a gradient."""
    for (low, first), (high, second) in itertools.pairwise(stops):
        if at <= high:
            part = max(0.0, (at - low) / (high - low))
            r, g, b = (round(a + (c - a) * part) for a, c in zip(first, second, strict=True))
            return r, g, b
    return stops[-1][1]


def coloured(numbers: Image.Image, stops: Sequence[tuple[float, Colour]]) -> Image.Image:
    """Colour numbers from 0 to 1 by a gradient, in 65,536 steps."""
    table = [mix(stops, at / 65535) for at in range(0, 65536, 64)]
    whole = ImageMath.lambda_eval(
        lambda a: a["convert"](a["max"](a["min"](a["v"], 1.0), 0.0) * 65535.0, "I"), v=numbers
    )
    bands = [whole.point([table[at // 64][band] for at in range(65536)], "L") for band in range(3)]
    return Image.merge("RGB", bands)


def fading(first: float, last: float, stops: Sequence[tuple[float, Colour]]) -> Image.Image:
    """Return a gradient from top to bottom."""
    column = b"".join(bytes(mix(stops, first + (last - first) * y / HEIGHT)) for y in range(HEIGHT))
    return Image.frombytes("RGB", (1, HEIGHT), column).resize(SIZE, Image.Resampling.NEAREST)


def vignette(picture: Image.Image, strength: float) -> Image.Image:
    """Darken towards the corners."""
    light = ImageMath.lambda_eval(
        lambda a: a["convert"](255.0 - strength * 255.0 * (a["x"] * a["x"] + a["y"] * a["y"]), "L"),
        x=across(-0.8, 0.8, picture.size),
        y=down(-0.8, 0.8, picture.size),
    )
    return ImageChops.multiply(picture, Image.merge("RGB", (light, light, light)))


def soft(figure: str, outline: Sequence[float | Point], bite: Sequence[float] = ()) -> Image.Image:
    """Return a mask with soft edges: a "polygon" or "ellipse", drawn at twice the size, less a bite."""
    large = Image.new("L", (WIDTH * 2, HEIGHT * 2))
    pen = ImageDraw.Draw(large)
    getattr(pen, figure)(outline, fill=255)
    if bite:
        getattr(pen, figure)(bite, fill=0)
    return large.resize(SIZE, Image.Resampling.BOX)


# Pictures


def julia() -> Image.Image:
    """Draw the Julia set of -0.8 + 0.24i; the colour tells how long a point stays near."""
    x, y = across(-1.56, 1.56), down(-1.04, 1.04)
    total = Image.new("F", SIZE)
    for _ in range(44):
        # A point that has escaped is held where it is, far out: the bounds differ so that it stays.
        x, y, total = (
            ImageMath.lambda_eval(
                lambda a: a["max"](a["min"](a["x"] * a["x"] - a["y"] * a["y"] - 0.8, 900.0), -900.0),
                x=x,
                y=y,
            ),
            ImageMath.lambda_eval(lambda a: a["max"](a["min"](a["x"] * a["y"] * 2.0 + 0.24, 30.0), -30.0), x=x, y=y),
            ImageMath.lambda_eval(
                lambda a: a["t"] + 1.0 / (1.0 + a["x"] * a["x"] + a["y"] * a["y"]), t=total, x=x, y=y
            ),
        )
    stops: list[tuple[float, Colour]] = [
        (0.0, (6, 8, 28)),
        (0.06, (16, 24, 78)),
        (0.14, (24, 84, 130)),
        (0.24, (42, 150, 150)),
        (0.34, (244, 208, 128)),
        (0.5, (232, 106, 66)),
        (0.7, (112, 26, 72)),
        (1.0, (255, 236, 214)),
    ]
    return coloured(ImageMath.lambda_eval(lambda a: a["t"] / 30.0, t=total), stops)


def ripples() -> Image.Image:
    """Let the waves of three stones in a pond run through each other."""
    sine = [round(127.5 + 127.5 * math.sin(step / 128 * math.tau)) for step in range(128)]
    table = [sine[step % 128] for step in range(65536)]
    height = Image.new("F", SIZE)
    for place_x, place_y in ((0.3, 0.34), (0.68, 0.26), (0.52, 0.8)):
        far = ImageMath.lambda_eval(
            lambda a: (a["x"] * a["x"] + a["y"] * a["y"]) ** 0.5,
            x=across(-place_x, 1 - place_x),
            y=down(-place_y * 2 / 3, (1 - place_y) * 2 / 3),
        )
        phase = ImageMath.lambda_eval(lambda a: a["convert"](a["far"] * (24 * 128.0), "I"), far=far)
        height = ImageMath.lambda_eval(
            lambda a: a["h"] + (a["convert"](a["w"], "F") - 127.5) / (1.0 + 2.2 * a["far"]),
            h=height,
            w=phase.point(table, "L"),
            far=far,
        )
    stops: list[tuple[float, Colour]] = [
        (0.0, (6, 18, 52)),
        (0.3, (10, 62, 106)),
        (0.5, (22, 122, 142)),
        (0.72, (122, 204, 190)),
        (0.88, (250, 232, 188)),
        (1.0, (255, 252, 240)),
    ]
    numbers = ImageMath.lambda_eval(lambda a: 0.46 + a["h"] / 470.0, h=height)
    picture = coloured(numbers, stops).filter(ImageFilter.GaussianBlur(1))
    return vignette(picture, 0.45)


def truchet() -> Image.Image:
    """Lay tiles with two quarter circles each, turned by chance: closed ribbons come of it."""
    chance = random.Random(1704)  # the year in which Sebastien Truchet wrote of such tiles
    scale, tile = 2, 100
    wide = tile * scale
    picture = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), (250, 243, 228))
    pen = ImageDraw.Draw(picture)
    bands: tuple[tuple[float, Colour], ...] = (
        (0.34, (28, 52, 84)),
        (0.24, (228, 178, 76)),
        (0.14, (196, 72, 54)),
        (0.05, (250, 243, 228)),
    )
    for left in range(0, WIDTH * scale, wide):
        for top in range(0, HEIGHT * scale, wide):
            corners = [(left, top), (left + wide, top + wide)]
            if chance.random() < 0.5:
                corners = [(left + wide, top), (left, top + wide)]
            for corner_x, corner_y in corners:
                below, right = corner_y > top, corner_x > left
                start = (180 if right else 270) if below else (90 if right else 0)
                for thick, colour in bands:
                    out = wide * (0.5 + thick / 2)
                    box = (corner_x - out, corner_y - out, corner_x + out, corner_y + out)
                    pen.arc(box, start, start + 90, colour, round(wide * thick))
    return picture.resize(SIZE, Image.Resampling.BOX)


def star(centre: Point, radius: float, points: int, inner: float, turn: float = 0.0) -> list[Point]:
    """Return the corners of a star whose inner corners are at `inner` of its radius."""
    corners = []
    for corner in range(2 * points):
        angle = turn + math.pi * corner / points
        reach = radius * (1 if corner % 2 == 0 else inner)
        corners.append((centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)))
    return corners


def girih() -> Image.Image:
    """Tile a wall with eight-pointed stars and the crosses between them, as in Kashan."""
    chance = random.Random(1267)
    scale, cell = 2, 200
    size = (WIDTH * scale, HEIGHT * scale)
    gold, cream = (214, 176, 98), (246, 234, 206)
    picture = Image.new("RGB", size, (24, 138, 142))
    pen = ImageDraw.Draw(picture)
    wide = cell * scale
    radius = wide * 0.5
    inner = math.cos(math.pi / 4) / math.cos(math.pi / 8)  # of two squares, one turned by 45 degrees
    for row in range(-1, HEIGHT // cell + 1):
        for column in range(-1, WIDTH // cell + 1):
            corner = ((column + 1) * wide, (row + 1) * wide)
            flower(pen, corner, wide * 0.2, (18, 112, 120), (120, 206, 196), gold)
    for row in range(HEIGHT // cell + 1):
        for column in range(WIDTH // cell + 1):
            centre = ((column + 0.5) * wide, (row + 0.5) * wide)
            blue = chance.choice(((22, 44, 104), (26, 54, 122), (18, 36, 88)))
            pen.polygon(star(centre, radius, 8, inner), fill=gold)
            pen.polygon(star(centre, radius * 0.955, 8, inner), fill=cream)
            pen.polygon(star(centre, radius * 0.92, 8, inner), fill=blue)
            pen.line([*(ring := star(centre, radius * 0.8, 8, inner)), ring[0]], fill=gold, width=3)
            pen.polygon(star(centre, radius * 0.66, 8, 0.62, math.pi / 8), fill=(38, 150, 160))
            pen.polygon(star(centre, radius * 0.58, 8, 0.5, 0), fill=cream)
            pen.polygon(star(centre, radius * 0.5, 8, 0.5, 0), fill=blue)
            flower(pen, centre, radius * 0.3, (202, 84, 58), cream, gold)
    shine = coloured(
        ImageMath.lambda_eval(lambda a: a["x"] + a["y"], x=across(0, 0.5, size), y=down(0, 0.5, size)),
        [(0.0, (255, 250, 238)), (0.6, (236, 232, 228)), (1.0, (168, 172, 196))],
    )
    return ImageChops.multiply(picture, shine).resize(SIZE, Image.Resampling.BOX)


def flower(pen: ImageDraw.ImageDraw, centre: Point, radius: float, petal: Colour, edge: Colour, heart: Colour) -> None:
    """Draw eight round petals about a heart."""
    for ring, colour in ((1.0, edge), (0.82, petal)):
        for number in range(8):
            angle = math.tau * number / 8
            x = centre[0] + radius * 0.66 * math.cos(angle)
            y = centre[1] + radius * 0.66 * math.sin(angle)
            reach = radius * 0.3 * ring
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    for reach, colour in ((radius * 0.36, edge), (radius * 0.34, heart)):
        pen.ellipse((centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach), fill=colour)


def ridge(chance: random.Random, level: float, rough: float) -> list[Point]:
    """Return the outline of hills, for `soft`: sums of waves, finer ones lower."""
    width, height = WIDTH * 2, HEIGHT * 2
    waves = [
        (rough * height / order**1.1, order * chance.uniform(0.8, 1.3), chance.uniform(0, math.tau))
        for order in (1, 2, 3, 5, 8, 13, 21, 34)
    ]
    line: list[Point] = [(0, height)]
    for x in range(0, width + 8, 4):
        lift = sum(h * math.sin(f * x / width * math.tau + p) for h, f, p in waves)
        line.append((x, level * height + lift))
    return [*line, (width, height)]


def night() -> Image.Image:
    """Draw a clear night over hills, with the band of the galaxy and a thin moon."""
    chance = random.Random(1572)  # the year of Tycho's star
    sky = fading(0.0, 1.0, [(0.0, (5, 8, 28)), (0.45, (16, 26, 66)), (0.75, (58, 62, 110)), (1.0, (190, 130, 120))])
    cloud, dust = (
        Image.frombytes("L", size, chance.randbytes(size[0] * size[1])).resize(SIZE, Image.Resampling.BICUBIC)
        for size in ((12, 8), (39, 26))
    )
    band = ImageMath.lambda_eval(
        lambda a: a["convert"](
            a["max"](1.0 - (a["x"] + a["y"] * 1.15) * (a["x"] + a["y"] * 1.15) * 6.0, 0.0)
            * (a["convert"](a["n"], "F") + a["convert"](a["d"], "F"))
            * 0.36,
            "L",
        ),
        x=across(-1.15, 0.85),
        y=down(-0.55, 0.9),
        n=cloud,
        d=dust,
    )
    glow = Image.merge("RGB", (band.point(lambda v: v * 0.75), band.point(lambda v: v * 0.7), band))
    sky = ImageChops.screen(sky, glow)
    stars = Image.new("RGB", (WIDTH * 2, HEIGHT * 2))
    pen = ImageDraw.Draw(stars)
    for _ in range(1500):
        x, y = chance.random() * WIDTH * 2, chance.random() ** 1.3 * HEIGHT * 1.7
        reach = 0.6 + 2.6 * chance.random() ** 7
        light = chance.randint(90, 255)
        warm = chance.uniform(-0.14, 0.14)
        colour = (min(255, round(light * (1 + warm))), light, min(255, round(light * (1 - warm))))
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    halo = stars.filter(ImageFilter.GaussianBlur(5)).point(lambda v: min(255, v * 3))
    for layer in (halo, stars):
        sky = ImageChops.screen(sky, layer.resize(SIZE, Image.Resampling.BOX))
    return hills(vignette(moon(sky), 0.3), chance)


def moon(sky: Image.Image) -> Image.Image:
    """Add a thin moon with its halo."""
    disc = soft("ellipse", (440, 230, 580, 370), bite=(406, 212, 542, 348))
    around = disc.filter(ImageFilter.GaussianBlur(40)).point(lambda v: min(255, v * 3))
    for mask, colour in ((around, (120, 120, 150)), (disc, (255, 246, 220))):
        light = Image.composite(Image.new("RGB", SIZE, colour), Image.new("RGB", SIZE), mask)
        sky = ImageChops.screen(sky, light)
    return sky


def hills(sky: Image.Image, chance: random.Random) -> Image.Image:
    """Put three dark ridges before the sky."""
    layers = ((0.8, 0.035, (40, 42, 78)), (0.87, 0.03, (22, 24, 52)), (0.94, 0.02, (8, 9, 24)))
    for level, rough, colour in layers:
        sky.paste(colour, mask=soft("polygon", ridge(chance, level, rough)))
    return sky


def dawn() -> Image.Image:
    """Draw a rising sun behind seven ridges, each nearer and darker, with mist between them."""
    chance = random.Random(1048)  # the year of Khayyam's birth
    morning = [(0.0, (96, 128, 170)), (0.3, (236, 190, 168)), (0.52, (255, 226, 180)), (1.0, (255, 236, 206))]
    picture = fading(0.0, 1.0, morning)
    sun = soft("ellipse", (1380, 460, 1660, 740))
    glow = sun.filter(ImageFilter.GaussianBlur(70))
    for mask, light in ((glow, (255, 210, 130)), (sun, (255, 250, 228))):
        picture.paste(light, mask=mask)
    for number in range(7):
        near = number / 6
        colour = mix([(0.0, (224, 168, 150)), (1.0, (34, 34, 62))], near**0.8)
        mask = soft("polygon", ridge(chance, 0.5 + 0.42 * near, 0.05 - 0.018 * near))
        top = 0.44 + 0.42 * near
        mist = fading(-top, 1 - top, [(0.0, colour), (0.5, (246, 206, 176))])
        plain = Image.new("RGB", SIZE, colour)
        picture.paste(Image.blend(plain, mist, 0.62 * (1 - near**2)), mask=mask)
    return picture


def sunflower() -> Image.Image:
    """Set seeds by the golden angle, as a sunflower does."""
    scale = 2
    size = (WIDTH * scale, HEIGHT * scale)
    x, y = across(-0.9, 0.9, size), down(-0.6, 0.6, size)
    far = ImageMath.lambda_eval(lambda a: (a["x"] * a["x"] + a["y"] * a["y"]) ** 0.5, x=x, y=y)
    picture = coloured(far, [(0.0, (34, 28, 58)), (0.6, (20, 18, 42)), (1.0, (8, 8, 22))])
    pen = ImageDraw.Draw(picture)
    golden = math.pi * (3 - 5**0.5)
    stops: list[tuple[float, Colour]] = [
        (0.0, (255, 244, 190)),
        (0.25, (250, 190, 70)),
        (0.5, (232, 96, 66)),
        (0.75, (170, 48, 110)),
        (1.0, (70, 60, 160)),
    ]
    seeds = 2200
    for seed in range(seeds, 0, -1):
        part = seed / seeds
        reach = part**0.5 * WIDTH * scale * 0.62
        left = size[0] / 2 + reach * math.cos(seed * golden)
        top = size[1] / 2 + reach * math.sin(seed * golden)
        wide = scale * (4 + 10 * part**0.5) * (0.88 + 0.12 * math.sin(seed * math.tau / 34))
        light = mix([(0.0, mix(stops, part)), (1.0, (255, 255, 255))], 0.35)
        for side, shift, colour in ((wide, 0.0, mix(stops, part)), (wide * 0.35, wide * 0.3, light)):
            a, b = left - shift, top - shift
            pen.ellipse((a - side, b - side, a + side, b + side), fill=colour)
    return picture.resize(SIZE, Image.Resampling.BOX)


def currents() -> Image.Image:
    """Let lines follow a field of smooth currents."""
    chance = random.Random(1887)
    scale = 2
    picture = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), (14, 22, 34))
    pen = ImageDraw.Draw(picture)
    light = ((236, 226, 198), (240, 178, 92), (214, 92, 70))
    palette = (*light, (62, 142, 148), (34, 90, 118), (150, 200, 180))
    waves = [(chance.uniform(0.6, 2.4), chance.uniform(0.6, 2.4), chance.uniform(0, math.tau)) for _ in range(5)]
    for _ in range(900):
        x, y = chance.uniform(-0.1, 1.6), chance.uniform(-0.1, 1.1)
        colour = palette[min(5, int((x + chance.gauss(0, 0.18)) * 4) % 6)]
        line = []
        for _ in range(chance.randint(12, 46)):
            angle = sum(math.sin(a * x * 2.2 + b * y * 2.6 + p) for a, b, p in waves) * 0.9
            line.append((x * HEIGHT * scale, y * HEIGHT * scale))
            x, y = x + 0.011 * math.cos(angle), y + 0.011 * math.sin(angle)
        pen.line(line, fill=colour, width=chance.choice((2, 3, 4, 6, 9)), joint="curve")
    return picture.resize(SIZE, Image.Resampling.BOX)


PICTURES: dict[str, tuple[Callable[[], Image.Image], str, dict[str, object]]] = {
    "Currents.webp": (currents, "WEBP", {"quality": 84, "method": 2}),
    "Tiles.png": (truchet, "PNG", {}),
    "Ripples.jpg": (ripples, "JPEG", {"quality": 88, "progressive": True}),
    "Sunflower.png": (sunflower, "PNG", {}),
    "Dawn.jpg": (dawn, "JPEG", {"quality": 90, "progressive": True}),
    "Spirals.webp": (julia, "WEBP", {"quality": 88, "method": 2}),
    "Night.jpg": (night, "JPEG", {"quality": 90, "progressive": True}),
    "Star and cross.png": (girih, "PNG", {}),
}

if __name__ == "__main__":
    main()
