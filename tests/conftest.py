"""What tests share: their order, one thread, seeds, the real data, the command, a trained run."""

from __future__ import annotations

import gc
import os
import random
import re
import shutil
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.register_assert_rewrite("helpers.every_method", "helpers.published_radii", "helpers.table")  # they assert
gc.set_threshold(5_000, 10, 20)  # a study makes a hundred thousand rows, and they are no garbage
torch.set_num_threads(1)  # one thread a worker: more of them slow each other down

collect_ignore = ["helpers", "plugin"]  # without doctests: they need not be imported to see that

# Chromium obeys the last such list alone, so what Playwright turns off stands here too. The rest is a second page
# behind the address line of every window, and a renderer in reserve: a third of the time was theirs.
TURNED_OFF = (
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxFullPopup",
    "SpareRendererForSitePerProcess",
)
SWITCHES = (
    f"--disable-features={','.join(TURNED_OFF)}",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


def pytest_configure(config: pytest.Config) -> None:
    """`make test-seconds` measures how long each file takes; workers leave that to who started them."""
    from helpers.seconds import Stopwatch

    if os.environ.get("PELLUCID_TEST_SECONDS") and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Stopwatch())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: one that begins last leaves the other workers idle."""
    from helpers.seconds import longest_first

    longest_first(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Nearly all that collecting makes stays to the end: it is not looked through for garbage, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws without a seed, and the networks it makes, are the same in every run and order."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images: PELLUCID_TEST_DATA, or ../shared/data beside the checkout.

    Skips on a machine without it; fails where PELLUCID_REQUIRE_DATA says that it must be there, as in .ci/run.
    """
    named = os.environ.get("PELLUCID_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        message = f"no real images at {folder}; set PELLUCID_TEST_DATA to a folder that has them"
        if os.environ.get("PELLUCID_REQUIRE_DATA"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_command_tree():
    """The command is put together from its functions once, which takes longer than most of what tests ask of it."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_power_cut():
    """Files are not waited for until the disk has them: a killed process loses nothing, and the power does not fail."""
    with pytest.MonkeyPatch.context() as patch:
        real = os.fsync
        patch.setattr(os, "fsync", lambda _: None)
        yield real


@pytest.fixture(scope="session", autouse=True)
def phantoms():
    """The same phantom is drawn once."""
    from helpers.phantoms import remembered

    with remembered():
        yield


@pytest.fixture
def pellucid(monkeypatch, capsys):
    """Run the command in this process; gives its exit status (or last words), output and messages."""
    from pellucid.cli.app import main

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("PELLUCID_PROGRESS", "0")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return ended.value.code or 0, output.out, output.err

    return run


@pytest.fixture(scope="module")
def quick_check():
    """The check of radii in three steps for eighty: for tests of what is done with radii, not of how small they are."""
    from pellucid.attacks import attack_strength

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attack_strength, "WALKS", attack_strength.WALKS[:1])
        patch.setattr(attack_strength, "STEPS", 3)
        patch.setattr(attack_strength, "AIMED_STEPS", (1, 1))
        yield


@pytest.fixture(scope="module")
def empty_charts():
    """Charts with nothing in them, for files whose tests are about what stands around them."""
    from helpers import charts

    with charts.empty_charts():
        yield


@pytest.fixture(scope="session")
def made_up_report(tmp_path_factory):
    """The page of `helpers.report`, with all its charts, as a file: by the worker of pytest that needs it first."""
    from filelock import FileLock

    from helpers import report

    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-up-report.html"
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            path.write_text(report.page(), encoding="utf-8")
    return path


@pytest.fixture
def forked_workers(monkeypatch):
    """The processes that this one starts for a study are forked, and need not import everything first."""
    from helpers.forked import fork_server

    server = fork_server()
    monkeypatch.setattr("multiprocessing.get_context", lambda _: server)


@pytest.fixture(scope="module")
def browser():
    """Chromium; skips on a user's machine without it, fails in CI, where it must not be missing."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if program is None:
        message = "no Chromium on this machine: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL server; skips where none is installed."""
    from helpers.postgres import Postgres, programs

    if programs() is None:
        pytest.skip("PostgreSQL is not installed on this machine (Debian's package postgresql)")
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def source(request, tmp_path):
    """Where annotations are to be kept: an SQLite file that is not there yet, then an empty PostgreSQL database."""
    if request.param == "sqlite":
        return tmp_path / "annotations.db"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running annotation server, in a process of its own."""
    from helpers.annotate import Server

    started = Server(tmp_path_factory.mktemp("annotate"), "--per-image", "20", "--order", "random").start()
    yield started
    started.kill()


@pytest.fixture
def visit(browser, server):
    """Open the page as somebody; what it asks of others, and errors in it, fail the test."""
    from helpers.annotate_page import EXPECTED, WIDE, come

    complaints, contexts = [], []

    def visitor(name, **options):
        context = browser.new_context(**{"viewport": WIDE} | options)
        contexts.append(context)
        context.on(
            "request", lambda r: r.url.startswith((server.address, "data:", "blob:")) or complaints.append(r.url)
        )
        context.on("console", lambda m: re.match(EXPECTED, m.text) or complaints.append(m.text))
        context.on("weberror", lambda e: complaints.append(str(e.error)))
        return come(context, server, name)

    yield visitor
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def phantom():
    """The splits of a small phantom, to train on."""
    from helpers.training import small_phantom

    return small_phantom()


@pytest.fixture(scope="session")
def finished(phantom, tmp_path_factory):
    """A finished run on `phantom`, of seed 7; tests copy its folder before they change anything in it."""
    from helpers.training import run

    return run(phantom, tmp_path_factory.mktemp("runs") / "finished", seed=7)
