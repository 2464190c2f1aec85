"""The command in real processes of its own, as a user or torchrun starts it."""

from __future__ import annotations

import os
import subprocess
import sys

JOINT = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


def launch(*arguments, processes=1, **environment):
    """Run `pellucid` to its end, in one process or in two that know of each other; a failure fails the test."""
    launcher = JOINT if processes == 2 else ()
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "pellucid.cli.app", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
