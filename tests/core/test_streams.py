"""The command line as a process: readers that leave, full disks, closed streams, encodings that know little."""

import os
import subprocess
import sys

import pytest

BLOCKYARD = f"{sys.executable} -m blockyard"


def shell(line, **env):
    """The exit code of the first command of a pipe, and what was said on standard error and output."""
    words = ["bash", "-c", f"set -o pipefail; {line}; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(words, capture_output=True, env=os.environ | env, timeout=60)
    return done.returncode, done.stderr.decode(), done.stdout.decode("utf-8", "replace")


@pytest.mark.parametrize("verb", ["catalogue", "list", "--help", "show mixer:gla", "check norm:rms"])
@pytest.mark.parametrize("reader", ["true", "head -c 1 >/dev/null"])
def test_a_reader_that_leaves_is_no_fault(verb, reader):
    assert shell(f"{BLOCKYARD} {verb} | {reader}")[:2] == (0, "")


def test_what_nobody_reads_on_standard_error_stops_nothing():
    code, said, answer = shell(f"{BLOCKYARD} list 2>&1 >/dev/null | true; {BLOCKYARD} compare lama 2>/dev/full")
    assert (code, said, answer) == (2, "", "")


@pytest.mark.parametrize("verb", ["catalogue", "list --json", "--help", "--version"])
def test_a_full_disk_is_named_in_a_line(verb):
    code, said, _ = shell(f"{BLOCKYARD} {verb} >/dev/full")
    assert code == 1 and said == "blockyard: the answer cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("verb, code", [
    ("list", 0), ("show mixer:none", 2), pytest.param("check norm:rms", 0, marks=pytest.mark.slow),
])  # fmt: skip
def test_closed_streams_are_no_fault(verb, code, closed):
    got, said, answer = shell(f"{BLOCKYARD} {verb} {closed}")
    assert got == code and "Traceback" not in said
    assert bool(answer) == (code == 0 and ">&-" not in closed.split())


def test_a_closed_standard_input_is_an_empty_one(tmp_path):
    code, said, _ = shell(f"{BLOCKYARD} compare llama --data - --out {tmp_path}/o <&-")
    assert code == 2 and said == "blockyard: standard input is empty; name a file with text in it\n"


def test_any_text_can_be_written_in_any_encoding():
    code, said, answer = shell(f"{BLOCKYARD} catalogue", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (code, said) == (0, "") and len(answer.splitlines()) >= 207
    code, said, _ = shell(f"{BLOCKYARD} show 'méla\udcff'", PYTHONIOENCODING="ascii")
    assert code == 2 and r"m\xe9la\udcff" in said and len(said.splitlines()) == 1


def test_another_broken_pipe_is_not_taken_for_a_reader_that_left():
    code = (
        "import sys\nfrom blockyard import cli\nfrom blockyard.cli import list\n"
        "def broken(options): raise BrokenPipeError(32, 'a pipe of our own')\n"
        "list.run, sys.argv = broken, ['blockyard', 'list']\nsys.exit(cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "a pipe of our own" in done.stderr


def test_a_caller_keeps_its_streams():
    code = (
        "import sys\nfrom blockyard import cli\nbefore = sys.stdout, sys.stderr, sys.stdout.errors\n"
        "cli.main(['list'])\nassert before == (sys.stdout, sys.stderr, sys.stdout.errors)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
