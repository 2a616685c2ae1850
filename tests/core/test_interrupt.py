"""Ctrl-C ends a program of ours with a line and 130, whatever it was doing."""

import os
import signal
import subprocess
import sys

import pytest

from blockyard.core import child


@pytest.mark.usefixtures("heeds_ctrl_c")
@pytest.mark.parametrize("while_importing", ["argparse", "blockyard.core.registry", "numpy._core", "torch.nn.modules"])
def test_ctrl_c_while_libraries_are_read(while_importing):
    command = [sys.executable, "-X", "importtime", "-m", "blockyard", "compare", "llama", "gla", "--dry-run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        for line in process.stderr:
            if while_importing in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130 and "Traceback" not in said
    assert said.endswith("stopped; what was finished is kept. To go on: blockyard compare llama gla --dry-run\n")


def test_who_must_not_stop_at_ctrl_c_does_not():
    code = "import signal; from blockyard.core import interrupt; interrupt.own(); signal.raise_signal(signal.SIGINT)"
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", code]
    assert subprocess.run(ignoring, check=False).returncode == 0


def test_a_child_leaves_ctrl_c_to_its_parent():
    process = child.start("blockyard.compare.run.worker", "1", threads=1)
    process.send_signal(signal.SIGINT)
    process.stdin.close()  # the end of its orders is what ends it
    assert process.wait(60) == 0
