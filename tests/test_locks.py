"""A folder is held by one process at a time: real processes, one of which is killed, refused or waits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pellucid.types import InputError
from pellucid.utils.locks import hold

HOLD = """
import sys
from pathlib import Path
from pellucid.utils.locks import hold
from pellucid.types import InputError
try:
    with hold(Path(sys.argv[1]), wait="--wait" in sys.argv):
        print("held", flush=True)
        sys.stdin.read()
except InputError as error:
    print(error, flush=True)
"""


def start(folder, *options):
    command = [sys.executable, "-W", "always", "-c", HOLD, str(folder), *options]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def test_the_second_is_refused_with_the_pid_and_host_of_the_first(tmp_path):
    first = start(tmp_path / "run")
    assert first.stdout.readline() == "held\n"
    said, _ = start(tmp_path / "run").communicate(timeout=60)
    assert said.startswith(f"{tmp_path / 'run'} is held by process {first.pid} on {socket.gethostname()}, ")
    assert "--wait" in said
    with pytest.raises(InputError, match=f"held by process {first.pid} on"):
        hold(tmp_path / "run").__enter__()
    first.communicate(timeout=60)
    with hold(tmp_path / "run"):
        pass


def test_a_killed_holder_holds_nothing(tmp_path):
    first = start(tmp_path)
    assert first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=60)
    assert (tmp_path / ".lock").read_text().startswith(f"process {first.pid} on")  # its file is still there
    second = start(tmp_path)
    assert second.stdout.readline() == "held\n"
    assert (tmp_path / ".lock").read_text() == f"process {second.pid} on {socket.gethostname()}"
    second.communicate(timeout=60)


def test_a_second_that_waits_comes_in_once_the_first_is_gone(tmp_path):
    first = start(tmp_path)
    assert first.stdout.readline() == "held\n"
    second = start(tmp_path, "--wait")
    assert f"is held by process {first.pid} on" in second.stderr.readline()  # it says for whom it waits
    assert second.poll() is None
    first.kill()
    assert second.stdout.readline() == "held\n"
    second.communicate(timeout=60)
    first.communicate(timeout=60)


@pytest.mark.filterwarnings("ignore:.* is held by")
def test_of_many_at_once_one_holds_and_each_in_turn_where_they_wait(tmp_path):
    inside, most, done = [], [], []

    def work():
        with hold(tmp_path / "run", wait=True):
            inside.append(1)
            most.append(len(inside))
            (tmp_path / "run" / "work").write_text("x")
            (tmp_path / "run" / "work").unlink()
            inside.pop()
        done.append(1)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 20
    assert max(most) == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_a_folder_that_goes_while_it_is_made_is_made_again(error, tmp_path, monkeypatch):
    """`mkdir(exist_ok=True)` raises either where another process takes the folder away within it."""
    from pellucid.utils.resources import make_folder

    misses = iter([error(17, "meanwhile"), error(17, "meanwhile")])

    def make(folder):
        if miss := next(misses, None):
            raise miss
        make_folder(folder)

    monkeypatch.setattr("pellucid.utils.locks.make_folder", make)
    with hold(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()


def test_a_folder_that_was_made_for_nothing_goes_again_and_one_with_work_stays(tmp_path):
    with pytest.raises(ValueError, match="refused"), hold(tmp_path / "a" / "b"):
        raise ValueError("refused")
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "run.toml").write_text("")
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["run.toml"]


def test_a_file_and_a_folder_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file is a file; --out names a folder"):
        hold(tmp_path / "file").__enter__()
    with pytest.raises(InputError, match=r"cannot write .*sub: a part of this path is a file"):
        hold(tmp_path / "file" / "sub").__enter__()
    if os.geteuid() == 0:
        with pytest.raises(InputError, match="cannot write /proc/self/x"):
            hold(Path("/proc/self/x")).__enter__()
