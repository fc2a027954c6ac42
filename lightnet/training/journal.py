"""A search's journal: each attempt is a line of a file, there for good when it ends."""

import json
import os

from ..data.manifest import digest, manifest
from ..errors import CheckpointError, FileError
from ..files import whole


class Journal:
    """The attempts of a search by number, and the file that has them, a line of JSON each.

    A line that was cut off when the process was killed is dropped, with the attempt.

    Parameters
    ----------
    path : Path
    fields : sequence of str
        What every attempt has, besides its number.
    """

    def __init__(self, path, fields):
        self.path, self.fields, self.attempts, self.slices = path, fields, {}, None
        if path.exists():
            self.read()

    def read(self):
        """Take the file's attempts, and leave whole lines only in it."""
        text = self.path.read_text(errors="replace")
        complete = text[:text.rfind("\n") + 1]
        for place, line in enumerate(complete.splitlines(), start=1):
            try:
                found = json.loads(line)
                missing = [field for field in self.fields if field not in found]
                if missing:
                    raise KeyError(", ".join(missing))
                self.attempts[found["number"]] = found
            except (ValueError, TypeError, KeyError) as error:
                raise CheckpointError(f"{self.path}, line {place}: no attempt ({type(error).__name__}: {error}); expected what "
                                      "`lightnet search` wrote. Remove the line, and its attempt is made again") from error
        if complete != text:
            with whole(self.path) as file:
                file.write(complete)

    def take(self, slices):
        """Name these slices in every line from now on; a CheckpointError where an attempt was made with others."""
        self.slices = name_of(slices)
        for number, one in self.attempts.items():
            if one.get("slices", self.slices) != self.slices:
                raise CheckpointError(f"{self.path}: attempt {number} was made with the slices {one['slices']}, expected "
                                      f"{self.slices}, which are there now. Go on with the same, or begin another search")

    def append(self, result):
        """Add an attempt; it is on disk when this returns."""
        result = {**result, "slices": self.slices}
        self.attempts[result["number"]] = result
        try:
            with open(self.path, "a") as file:
                file.write(json.dumps(result) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FileError(f"{self.path}: cannot be written ({error.strerror}); every attempt must be, make room") from error

    def upto(self, number):
        """The attempts below a number, in order."""
        return [self.attempts[k] for k in sorted(self.attempts) if k < number]


def name_of(slices):
    """A short name for these very slices, from the checksums of their files."""
    return digest(manifest(slices))[:12]
