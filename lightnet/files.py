"""Write a file whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path

from .errors import FileError


@contextmanager
def whole(path, mode="w", **options):
    """Open ``path`` for writing under another name, and rename it when the block ends well.

    A run that is stopped in the middle so leaves the old file, or none, never half of one. Folders on the way are made.

    Raises
    ------
    FileError
        Where it cannot be written; the message names it.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a" / "b.txt"
    >>> with whole(path) as file:
    ...     _ = file.write("text")
    >>> path.read_text()
    'text'
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(aside, mode, **options) as file:
                yield file
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error}); choose a folder that can be") from error
