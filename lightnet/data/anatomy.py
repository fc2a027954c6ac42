"""The chest in which phantom.py draws lungs: pose, outlines, tissues, bones and vessels, never a disease.

Outlines are implicit functions rather than polygons: one array per outline, negative inside and growing outwards like a
distance, so that a soft edge, an intersection and a pixel's depth under the surface are each one line of NumPy.
"""
import numpy as np
from PIL import Image, ImageDraw

AIR, FAT, TISSUE, MARROW, BONE = -1000, -100, 40, 200, 600     # Hounsfield units


class Body:
    """One body's pose and outlines.

    Body coordinates, arrays `u` and `v` of the image's `shape` (H, W), run to the image's right and to the body's back;
    their unit is half the chest's width. The outlines `skin`, `cavity` and `lungs` are arrays of that shape too.
    """

    def __init__(self, rng):
        width = int(rng.integers(240, 361))
        self.shape = height, width = int(width * rng.uniform(0.8, 1)), width
        self.half = rng.uniform(0.62, 0.74)                    # half the chest's depth, front to back
        self.level = rng.uniform(0, 1)                         # of the slice: 0 at the aortic arch, 1 at the heart
        scale = rng.uniform(0.9, 1.05) * min(width / 2, height / 2 / self.half)
        self.pixel = 1 / scale                                 # a pixel's side in body coordinates
        angle = np.deg2rad(rng.uniform(-12, 12))
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.to_pixels = rotation * scale * rng.uniform(0.95, 1.05, 2)
        self.centre = np.array([width, height]) / 2 + rng.uniform(-0.05, 0.05, 2) * scale

        x, y = np.arange(width) - self.centre[0], np.arange(height)[:, None] - self.centre[1]
        (a, b), (c, d) = np.linalg.inv(self.to_pixels)
        # No chest is an ellipse: a smooth random displacement bends all outlines together.
        self.u = a * x + b * y + 0.02 * random_field(rng, self.shape, 3)
        self.v = c * x + d * y + 0.02 * random_field(rng, self.shape, 3)
        self._outline(rng, self.u, self.v)

    def _outline(self, rng, u, v):
        """Lay out skin, ribs, chest cavity, spine and lungs."""
        self.skin = _ellipse(u, v, (0, 0), (1, self.half), square=0.4)
        self.ribcage = rng.uniform(0.76, 0.82) * (0.92 + 0.08 * self.level), self.half - rng.uniform(0.12, 0.16)
        self.cavity = _ellipse(u, v, (0, 0), self.ribcage, square=0.3)
        self.spine = np.array([0, 0.66 * self.ribcage[1]])
        # Lungs fill the cavity but for the middle; the heart bulges to the body's left, which is the image's right.
        bulge = rng.uniform(0.2, 0.3) * self.level / (1 + ((v + 0.15) / 0.22) ** 2)
        right, left = rng.uniform(0.1, 0.14, 2)
        middle = np.minimum(right + 0.4 * bulge + u, left + bulge - u)
        self.lungs = _intersect(self.cavity, _intersect(middle, -_ellipse(u, v, self.spine, (0.21, 0.21))))

    def coverage(self, outline):
        """The part of each pixel inside an outline, 0..1: soft across one pixel."""
        return np.clip(0.5 - outline / self.pixel, 0, 1)

    def paint_ellipse(self, image, value, centre, axes, strength=1):
        """Blend `value` into `image` inside a small ellipse, touching only a box of pixels around it."""
        x, y = np.rint(self.to_pixels @ centre + self.centre).astype(int)
        reach = int((max(axes) + 0.08) / self.pixel)           # a little more than the axes: outlines are bent
        box = np.s_[max(y - reach, 0):y + reach, max(x - reach, 0):x + reach]
        paint(image[box], value, strength * self.coverage(_ellipse(self.u[box], self.v[box], centre, axes)))

    def strokes(self, groups):
        """Coverage by lines, given as groups ``((lines, points, 2) array, width)`` in body coordinates."""
        canvas = Image.new("L", (2 * self.shape[1], 2 * self.shape[0]))     # twice as fine, for soft edges
        pen = ImageDraw.Draw(canvas)
        for lines, width in groups:
            pixels = 2 * (lines @ self.to_pixels.T + self.centre)
            for line in pixels.reshape(len(lines), -1).tolist():            # x, y, x, y, ...
                pen.line(line, fill=255, width=max(1, round(2 * width / self.pixel)))
        return np.asarray(canvas.reduce(2)) / 255


def chest(rng, body):
    """The slice but for the lungs (H, W), in Hounsfield units: fat, muscle, heart, great vessels, airways and bones."""
    image = np.full(body.shape, float(AIR))
    paint(image, FAT, body.coverage(body.skin))
    muscle = body.coverage(np.minimum(body.skin + rng.uniform(0.02, 0.08), body.cavity - 0.04))
    paint(image, TISSUE, muscle)
    paint(image, FAT, muscle * np.clip(0.4 * random_field(rng, body.shape, 14), 0, 1))  # fat between muscles

    blood = TISSUE + rng.uniform(0, 150)                       # without or with contrast medium
    across, deep = body.ribcage
    body.paint_ellipse(image, blood, (0.17, 0.5 * deep), (0.075, 0.075))                # aorta
    body.paint_ellipse(image, blood, (0.1, -0.15), (0.24, 0.2), strength=body.level)    # heart
    if body.level < 0.6:                                       # the trachea, which further down forks into the bronchi
        for side in (-0.16, 0.16):
            body.paint_ellipse(image, AIR, (side * body.level, 0.08), (0.055, 0.05))

    canal = body.spine + (0, 0.17)
    sternum = np.array([[[-0.06, -deep - 0.05], [0.06, -deep - 0.05]]])                 # (lines, points, 2)
    processes = canal + np.array([[[-0.08, -0.02], [-0.2, 0.03]], [[0.08, -0.02], [0.2, 0.03]], [[0, 0.07], [0, 0.1]]])
    # A rib runs downwards, so a slice cuts it obliquely: a short piece that leaves the ring of ribs at a slant.
    along = np.linspace(0, 1, 5)
    angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)[:, None] + rng.uniform(0, 0.6)
    angle, slant = angle + along * rng.uniform(0.2, 0.4, (10, 1)), 0.045 + along * rng.uniform(0, 0.03, (10, 1))
    ribs = np.stack([(across + slant) * np.cos(angle), (deep + slant) * np.sin(angle)], axis=-1)     # (10, 5, 2)
    paint(image, BONE, body.strokes([(sternum, 0.05), (processes, 0.035), (ribs, 0.038)]))
    for value, centre, axes in ((BONE, body.spine, (0.15, 0.115)), (MARROW, body.spine, (0.125, 0.09)),
                                (BONE, canal, (0.1, 0.085)), (TISSUE, canal, (0.065, 0.055))):
        body.paint_ellipse(image, value, centre, axes)
    return image


def vessels(rng, body):
    """Coverage by the lungs' vessels (H, W): from each lung's root they wind outwards, fork and thin out."""
    tips = np.repeat([[-0.16, 0.0], [0.16, 0.0]], 7, axis=0)
    heading = np.repeat([np.pi, 0.0], 7) + rng.uniform(-1.5, 1.5, 14)
    width, groups = 0.025, []
    for _ in range(9):
        heading = heading + rng.normal(0, 0.4, len(tips))
        ends = tips + rng.uniform(0.03, 0.09, (len(tips), 1)) * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        groups.append((np.stack([tips, ends], axis=1), width))
        forks = np.flatnonzero(rng.random(len(tips)) < 0.3)
        tips, heading = np.concatenate([ends, ends[forks]]), np.concatenate([heading, heading[forks]])
        heading, width = heading + rng.normal(0, 0.4, len(tips)), 0.78 * width
    return body.strokes(groups)


def random_field(rng, shape, cutoff):
    """A smooth random field (H, W) of deviation about 1: cosines of up to `cutoff` half-waves along the longer side."""
    order = np.arange(cutoff + 1)
    rows, columns = (np.cos(np.pi / max(shape) * np.outer(np.arange(n) + 0.5, order)) for n in shape)
    weights = rng.standard_normal((cutoff + 1, cutoff + 1)) * (np.hypot(order, order[:, None]) <= cutoff)
    return rows @ weights @ columns.T * (2.26 / (cutoff + 1))


def paint(image, value, coverage):
    """Blend `value` into `image`, in place, by the share of each pixel that it covers."""
    image += coverage * (value - image)


def _ellipse(u, v, centre, axes, square=0):
    """Outline of an ellipse with half-axes `axes`; `square` in 0..1 makes it bulge towards its bounding box."""
    x2, y2 = ((u - centre[0]) / axes[0]) ** 2, ((v - centre[1]) / axes[1]) ** 2
    radius = np.sqrt(x2 + y2)
    if square:
        radius = (1 - square) * radius + square * np.sqrt(np.sqrt(x2 * x2 + y2 * y2))
    return (radius - 1) * min(axes)


def _intersect(a, b, corner=0.06):
    """Outline of what lies inside both outlines, the corner where they cross rounded."""
    return np.maximum(a, b) + np.maximum(corner - np.abs(a - b), 0) ** 2 / (4 * corner)
