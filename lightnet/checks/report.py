"""What a check tells: which input or parameter is wrong, by how much, and where to look."""

from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong: with which input or parameter (or with what), and what was found."""

    name: str
    text: str


class Report:
    """What a check found: truthy if nothing is wrong; ``print`` it to see what is.

    Attributes
    ----------
    title : str
    problems : list of Problem
    errors : dict of str to float
        The relative error of every gradient that was compared.
    """

    def __init__(self, title):
        self.title, self.problems, self.errors = title, [], {}

    def add(self, name, text):
        """Note a problem."""
        self.problems.append(Problem(name, text))

    @property
    def worst(self):
        """The largest relative error of a gradient."""
        return max(self.errors.values(), default=0.0)

    def __bool__(self):
        return not self.problems

    def __str__(self):
        if self:
            return f"{self.title}: right; {len(self.errors)} gradients compared, worst relative error {self.worst:.1e}"
        return "\n".join([f"{self.title}: {len(self.problems)} wrong", *(f"  {name}: {text}" for name, text in self.problems)])

    __repr__ = __str__
