"""A real PostgreSQL server for a while, where one is installed; it listens on this machine alone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from itertools import count
from pathlib import Path

PATIENCE = 60  # seconds


def programs():
    """The folder of the server's programs; None where it is not installed."""
    found = [Path(os.path.realpath(tool)).parent for tool in (shutil.which("initdb"),) if tool]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").is_file() and (folder / "postgres").is_file()), None)


class Postgres:
    """A server with a folder of its own, which goes with it."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="pellucid-postgres-"))  # not pytest's, which others may not enter
        # PostgreSQL refuses to run as root
        self._who = {"user": "nobody"} if os.geteuid() == 0 else {}
        if self._who:
            shutil.chown(self._folder, "nobody")
        password = self._folder / "password"
        password.write_text("secret")
        password.chmod(0o644)
        self._run("initdb", "-U", "ann", "-A", "scram-sha-256", "--pwfile", password, "--no-sync", "-E", "UTF8")
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = None
        self._names = (f"marks{i}" for i in count())
        self.start()

    def _command(self, program, *options):
        return [str(programs() / program), "-D", str(self._folder / "data"), *map(str, options)]

    def _run(self, program, *options):
        command = self._command(program, *options)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self._folder, **self._who)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        options = ("-p", self.port, "-h", "127.0.0.1", "-k", self._folder, "-c", "fsync=off")
        log = (self._folder / "log").open("a")
        self._process = subprocess.Popen(
            self._command("postgres", *options), cwd=self._folder, stdout=log, stderr=log, **self._who
        )
        log.close()
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._ask("SELECT 1")
            except Exception:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise AssertionError((self._folder / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return

    def stop(self):
        """As a machine that goes down: open connections are cut."""
        self._process.send_signal(2)  # fast shutdown
        self._process.wait(PATIENCE)

    def remove(self):
        self.stop()
        shutil.rmtree(self._folder)

    def _ask(self, statement):
        import pg8000.native

        with closing(pg8000.native.Connection("ann", "127.0.0.1", "postgres", self.port, "secret")) as connection:
            return connection.run(statement)

    def new_database(self):
        """The URL of an empty database."""
        name = next(self._names)
        self._ask(f"CREATE DATABASE {name}")
        return f"postgresql://ann:secret@127.0.0.1:{self.port}/{name}"
