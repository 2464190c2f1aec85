"""The command as a user or torchrun starts it: in this process, or in two real ones that know of each other."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from unittest.mock import patch

import pytest

from pellucid.cli.app import main

JOINT = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


def run_command(*arguments):
    """Run `pellucid` to its end in this process; a failure fails the test."""
    with (
        patch.object(sys, "argv", ["pellucid", *map(str, arguments)]),
        patch.object(warnings, "showwarning", warnings.showwarning),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert not ended.value.code


def launch(*arguments, **environment):
    """Run `pellucid` to its end in two processes; a failure fails the test."""
    done = subprocess.run(
        [sys.executable, "-m", *JOINT, "pellucid.cli.app", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
