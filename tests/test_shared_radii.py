"""Radii on disk: resumed after a real kill, shared by real processes, refused where they are of something else."""

from __future__ import annotations

import json
import signal
import time
import warnings

import numpy as np
import pytest

from helpers.forked import Forked
from helpers.radii import BATCH, COUNT, QUICK, lines, run, toy, worker
from pellucid.evaluation.robustness import radii as radii_module
from pellucid.evaluation.robustness.ara import area
from pellucid.evaluation.robustness.radii import AttackConfig
from pellucid.evaluation.robustness.radius_check import as_checked
from pellucid.types import InputError
from pellucid.utils.results_store import ResultsStore


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, run(folder)["attack"]


@pytest.fixture
def attacked(monkeypatch):
    """How many images are given to the attack in this process."""
    seen, real = [], radii_module.minimal

    def counted(network, images, *rest, **options):
        seen.append(len(images))
        return real(network, images, *rest, **options)

    monkeypatch.setattr(radii_module, "minimal", counted)
    return seen


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(tmp_path, undisturbed, attacked):
    process = worker(tmp_path)
    process.stdin.write("go\n")
    table = tmp_path / "radii.csv"
    until = time.monotonic() + 240
    while not table.exists() or len(table.read_text().splitlines()) < 3 * BATCH:
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(table.read_text().splitlines()) - 1
    assert 0 < done < COUNT
    with table.open("a") as stream:
        stream.write('attack,"image 39, of to')  # as if it had been killed while it wrote
    found = run(tmp_path)["attack"]
    assert sum(attacked) == COUNT - done
    folder, expected = undisturbed
    assert lines(tmp_path) == lines(folder)
    np.testing.assert_array_equal(found.radius, expected.radius)
    attacked.clear()
    run(tmp_path)
    assert attacked == []


def test_a_batch_that_was_half_written_is_completed_without_doubles(tmp_path, undisturbed):
    run(tmp_path)
    whole = (tmp_path / "radii.csv").read_text()
    (tmp_path / "radii.csv").write_text("\n".join(whole.splitlines()[:12]) + '\nattack,"ima')
    found = run(tmp_path)["attack"]
    folder, expected = undisturbed
    assert lines(tmp_path) == lines(folder)
    np.testing.assert_array_equal(found.radius, expected.radius)


@pytest.mark.slow
def test_two_processes_share_the_work_and_neither_does_the_others(tmp_path, undisturbed):
    both = [worker(tmp_path) for _ in range(2)]
    for process in both:
        process.stdin.write("go\n")
    said = [process.communicate(timeout=300)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    counts = [int(count) for count, _ in said]
    assert sum(counts) == COUNT
    assert min(counts) > 0
    assert lines(tmp_path) == lines(undisturbed[0])
    summary = json.loads((tmp_path / "ara.json").read_text())["kinds"]["attack"]
    checked = as_checked({"attack": undisturbed[1]}, {"attack": summary["alarm"]}, toy()[1])["attack"]
    expected = area(checked.radius, checked.robustness_target.naive)
    assert [float(value) for _, value in said] == [pytest.approx(expected)] * 2
    assert summary["ara"] == pytest.approx(expected)


@pytest.mark.slow
def test_what_a_dead_process_held_is_taken_over(tmp_path, undisturbed):
    """A process that holds a batch and dies without a word; another waits for it, and then does it."""
    code = (
        "import sys, time; from pathlib import Path; from pellucid.utils.results_store import ResultsStore\n"
        "with ResultsStore(Path(sys.argv[1])).claim('attack-00000008') as claim:\n"
        "    print(claim is not None, flush=True)\n"
        "    time.sleep(600)\n"
    )
    holder = Forked(tmp_path, code=code)
    assert holder.stdout.readline() == "True\n"
    waiting = worker(tmp_path, pause=0.0)
    waiting.stdin.write("go\n")
    waiting.stdin.flush()
    table, until = tmp_path / "radii.csv", time.monotonic() + 240
    while not table.exists() or len(table.read_text().splitlines()) < COUNT - BATCH + 1:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(2 * radii_module.PATIENCE)
    assert waiting.poll() is None  # it does not give up, and does not take what is held
    assert len(table.read_text().splitlines()) == COUNT - BATCH + 1
    holder.kill()
    holder.wait()
    assert int(waiting.communicate(timeout=300)[0].split()[0]) == COUNT
    assert lines(tmp_path) == lines(undisturbed[0])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sha": "two"}, 'weights_sha256: "one" there, "two" here'),
        (
            {"protocol": AttackConfig("tight", seed=3, options=QUICK.options)},
            'protocol: "woods2019" there, "tight" here',
        ),
        ({"protocol": AttackConfig("woods2019", seed=4, options=QUICK.options)}, "seed: 3 there, 4 here"),
        ({"protocol": AttackConfig("woods2019", seed=3)}, "options"),
        ({"kinds": ("attack", "btr")}, "kinds"),
    ],
)
def test_radii_of_something_else_are_refused(tmp_path, undisturbed, change, named):
    folder, _ = undisturbed
    before = lines(folder)
    with pytest.raises(InputError) as refused:
        run(folder, **change)
    assert named in str(refused.value)
    assert str(refused.value).count("holds the results of another evaluation") == 1
    assert lines(folder) == before


def test_radii_of_other_images_are_refused(undisturbed):
    pixels, dataset = toy()
    with pytest.raises(InputError, match="fingerprint"):
        run(undisturbed[0], pixels=pixels[:9], dataset=dataset.subset(range(9)))


def test_another_batch_size_goes_on_with_the_batches_there_are(tmp_path, undisturbed, attacked):
    run(tmp_path)
    attacked.clear()
    run(tmp_path, batch_size=7)
    assert attacked == []


def test_radii_without_a_record_or_with_a_damaged_one_are_refused(tmp_path):
    run(tmp_path)
    record = (tmp_path / "evaluation.json").read_text()
    (tmp_path / "evaluation.json").unlink()
    with pytest.raises(InputError, match="nobody knows what it belongs to"):
        run(tmp_path)
    for damaged in ("{", "", record.replace("one", "two"), json.dumps({"weights_sha256": "one"})):
        (tmp_path / "evaluation.json").write_text(damaged)
        with pytest.raises(
            InputError, match=r"evaluation\.json is damaged .*Nobody knows what the results in .* belong to"
        ):
            run(tmp_path)


@pytest.mark.parametrize("place", [0, 1, 9, COUNT])
def test_damaged_lines_are_taken_out_said_and_measured_again(tmp_path, undisturbed, place):
    run(tmp_path)
    table = tmp_path / "radii.csv"
    rows = table.read_bytes().splitlines(keepends=True)
    rows[place] = rows[place].replace(b"1", b"2", 1) if place else b"\0" * len(rows[0])
    table.write_bytes(b"".join(rows))
    with pytest.warns(UserWarning, match=r"radii\.csv is damaged \(1 line of it"):
        found = run(tmp_path)["attack"]
    assert lines(tmp_path) == lines(undisturbed[0])
    np.testing.assert_array_equal(found.radius, undisturbed[1].radius)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path)


def test_a_note_of_time_that_is_damaged_makes_the_time_unknown(tmp_path):
    run(tmp_path)
    (note, *_) = sorted((tmp_path / ".locks").glob("attack-*"))
    note.write_bytes(b"garbage \xff")
    with pytest.warns(UserWarning, match="how long the search took is not known"):
        assert np.isnan(run(tmp_path)["attack"].seconds)


def test_a_lock_is_waited_for_and_a_claim_is_not(tmp_path):
    store = ResultsStore(tmp_path)
    with store.claim("x") as mine, ResultsStore(tmp_path).claim("x") as other:
        assert mine is not None
        assert other is None
        mine.spent(2.5)
        mine.spent(3.5)
    with store.claim("x") as free:
        assert free is not None
    assert store.seconds("x") == 3.5
