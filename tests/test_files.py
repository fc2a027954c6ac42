"""Files are written whole or not at all, to where the path leads."""

import os
import subprocess
import sys
import threading

import pytest

import lightnet as ln
from lightnet.files import whole


def test_what_breaks_off_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), whole(file) as new:
        new.write("half")
        raise RuntimeError
    assert file.read_text() == "old" and [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    link, file = tmp_path / "link.txt", tmp_path / "there" / "a.txt"
    link.symlink_to(file)
    for text in ("new", "newer"):                       # the first time it leads to nothing yet
        with whole(link) as out:
            out.write(text)
        assert link.is_symlink() and file.read_text() == text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with whole(pipe) as out:
        out.write("through")
    reader.join(10)
    assert read == ["through"] and not pipe.is_file()


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
def test_standard_output_that_goes_to_a_file_is_appended_to(tmp_path):
    out = tmp_path / "all.txt"
    out.write_text("before\n")
    code = "from lightnet.files import whole\nwith whole('/dev/stdout') as file: file.write('after\\n')"
    with open(out, "a") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert out.read_text() == "before\nafter\n"


def test_a_folder_in_the_way_is_named(tmp_path):
    with pytest.raises(ln.FileError, match=tmp_path.name), whole(tmp_path) as out:
        out.write("")
