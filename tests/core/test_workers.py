import os
import signal
import subprocess
import sys
import time

import torch

from analysis_lib.core.workers import in_own_process

KILLED = """
import pathlib, sys, time
from analysis_lib.core.workers import in_own_process

def work():
    pathlib.Path("working").touch()
    time.sleep(600)

if __name__ == "__main__":
    in_own_process(work)
"""


def test_a_function_runs_in_another_process_with_as_many_threads():
    assert in_own_process(os.getpid) != os.getpid()
    assert in_own_process(torch.get_num_threads) == torch.get_num_threads()


def test_the_worker_ends_when_the_process_that_uses_it_is_killed(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, cwd=tmp_path)
    while not (tmp_path / "working").exists():
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)  # comes back once nobody holds the pipe: a worker that lives on would
    assert process.returncode == -signal.SIGKILL
