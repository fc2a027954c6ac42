"""Which image sizes a network admits, where its layers cannot know it themselves."""

from typing import NamedTuple

from .errors import ShapeError


class SizeRule(NamedTuple):
    """Which image sides a network admits: those from ``step`` on with ``first <= side % step <= last``; and why.

    Examples
    --------
    >>> SizeRule(16, 1, 4, "the reason").check(227, 228)
    >>> SizeRule(16, 1, 4, "the reason").check(227, 224)        # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lightnet.errors.ShapeError: ... does not fit: the reason. The nearest sides that do are 209-212 and 225-228 pixels
    """

    step: int
    first: int
    last: int
    why: str

    def check(self, height, width):
        """Raise a ShapeError that names the nearest sides that fit, if one of these does not."""
        for side in (height, width):
            if not self.first <= side % self.step <= self.last or side < self.step:
                below = max((side - self.first) // self.step, 1) * self.step
                nearest = [f"{start + self.first}-{start + self.last}" for start in (below, below + self.step)]
                raise ShapeError(f"an image of {height}x{width} pixels does not fit: {self.why}. The nearest sides that do are "
                                 f"{nearest[0]} and {nearest[1]} pixels")
