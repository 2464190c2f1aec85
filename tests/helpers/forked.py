"""Real processes that run a command or a piece of Python, forked from one that has imported all they need.

One that begins with Python itself imports torch and its compiler first, for seconds, and this suite starts a hundred.
Here the standard library's fork server imports once in each worker of pytest. What it forks has an id, signals, a
folder, an environment and output of its own, and can be killed like any other.
"""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from multiprocessing.connection import Connection
from pkgutil import walk_packages

LIMIT = 240  # seconds; none needs them, but a machine may be busy
BESIDES = ("torch._dynamo", "torch.distributed.fsdp", "torch.distributed.nn", "matplotlib.pyplot", "uvicorn")


@cache
def fork_server():
    """A context as multiprocessing's own, whose processes have imported what commands import when they are called."""
    import pellucid

    names = [module.name for module in walk_packages(pellucid.__path__, "pellucid.")]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*BESIDES, *(n for n in names if "migrations" not in n and "__main__" not in n)])
    return context


def _run(arguments, code, environment, limits, session, answers, outputs):
    """What the process does."""
    gc.freeze()  # what was imported stays to the end
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs in a shell's background
    if session:
        os.setsid()
    if answers is not None:
        os.dup2(answers.fileno(), 0)
        answers.close()
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    for number, output in enumerate(outputs, 1):
        os.dup2(output.fileno(), number)
        output.close()
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))
    for kind, values in limits.items():
        import resource

        resource.setrlimit(kind, values)
    os.environ.clear()
    os.environ.update(environment)
    os.fsync = lambda _: None  # as in the tests' own process
    try:
        if code is None:
            from pellucid.cli.app import main

            sys.argv = ["pellucid", *arguments]
            main()
        else:
            sys.argv = ["-c", *arguments]
            exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its processes without them


class Forked:
    """A process that runs `pellucid`, to be used like a `subprocess.Popen` whose output is text in pipes.

    Args:
        arguments: of the command.
        code: Python code to run instead, as `python -c` does.
        environment: what its environment has besides.
        limits: of its resources, soft and hard, by their number in `resource`.
        session: whether it leads a session, and so a group of processes.
        log: a file that gets its messages instead of `stderr`.
        asks: whether it reads what is written to `stdin`; otherwise there is nothing to read.
    """

    def __init__(self, *arguments, code=None, environment=None, limits=None, session=False, log=None, asks=False):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PELLUCID_PROGRESS": "0"} | (environment or {})
        read_ends, write_ends = zip(*(fork_server().Pipe(duplex=False) for _ in range(2)), strict=True)
        if log is not None:
            write_ends[1].close()
            file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            write_ends = (write_ends[0], Connection(file, readable=False))
        answers, self.stdin = None, None
        if asks:
            answers, writing = fork_server().Pipe(duplex=False)
            self.stdin = os.fdopen(os.dup(writing.fileno()), "w", buffering=1, encoding="utf-8")
            writing.close()
        words = list(map(str, arguments))
        self._process = fork_server().Process(
            target=_run, args=(words, code, environment, limits or {}, session, answers, write_ends)
        )
        self._process.start()
        self.pid, self._texts = self._process.pid, {}
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end in read_ends)
        for end in (*read_ends, *write_ends, *([answers] if asks else [])):
            end.close()

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=LIMIT):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("pellucid", timeout)
        return self.returncode

    def communicate(self, timeout=LIMIT):
        """Its output and messages, once it and whoever shares its pipes are done."""
        texts = ["", ""]
        if self.stdin is not None:
            self.stdin.close()

        def read(number, stream):
            if not stream.closed:  # by an earlier call
                with stream:
                    texts[number] = stream.read()

        threads = [
            threading.Thread(target=read, args=each, daemon=True) for each in enumerate((self.stdout, self.stderr))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
            if thread.is_alive():
                raise subprocess.TimeoutExpired("pellucid", timeout)
        self.wait(timeout)
        return texts[0], texts[1]

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def run_forked(*arguments, **options):
    """Run `pellucid` to its end, like `subprocess.run`."""
    process = Forked(*arguments, **options)
    output, messages = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, output, messages)


def run_together(*arguments, code=None, **environment):
    """Run `pellucid`, or code, in two processes that know of each other; a failure of either fails the test.

    They get what torchrun gives its processes, and so nothing here needs its own one.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    both = [
        Forked(*arguments, code=code, environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), **environment})
        for rank in range(2)
    ]
    texts = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    return [subprocess.CompletedProcess(arguments, 0, *text) for text in texts]
