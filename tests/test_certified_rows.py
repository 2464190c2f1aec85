"""Certificates over a dataset: an image's own draws, interruption, what a folder belongs to, and the alarm."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from helpers.certified import SIGMA, Linear, at_distances, measure, toy, two_classes
from pellucid.evaluation.robustness.certified import Smoothing
from pellucid.evaluation.robustness.certified_summary import alarm
from pellucid.types import InputError
from pellucid.utils.results_store import ResultsStore


def test_an_image_has_its_own_draws_whatever_else_is_measured(tmp_path):
    net = two_classes()
    pixels, dataset = toy(net, at_distances(net, [0.1, -0.2, 0.3]), np.array([1, 0, 1]))
    smoothing = Smoothing(SIGMA, samples=60, attack=4)
    whole = measure(net, pixels, dataset, smoothing, tmp=tmp_path)
    part = measure(net, pixels[[2, 0]], dataset.subset([2, 0]), smoothing, tmp=tmp_path)
    assert part == [whole[2], whole[0]]
    copies = measure(net, pixels[[0, 0, 0]], dataset, replace(smoothing, attack=None), tmp=tmp_path)
    assert len({r.p_bound for r in copies}) > 1  # the same pixels under other names get other draws
    other = measure(net, pixels, dataset, replace(smoothing, seed=1), tmp=tmp_path)
    assert [r.p_bound for r in other] != [r.p_bound for r in whole]


def test_an_interrupted_run_goes_on_and_a_torn_line_is_dropped(tmp_path):
    net = two_classes()
    pixels, dataset = toy(net, at_distances(net, [0.1, -0.2, 0.3]), np.array([1, 0, 1]))
    smoothing = Smoothing(SIGMA, samples=60, attack=4)
    whole = measure(net, pixels, dataset, smoothing, tmp_path)
    path = tmp_path / "certify.csv"
    text = path.read_text()
    path.write_text("\n".join(text.splitlines()[:2]) + '\n"image 1, a t')

    class Counted(Linear):
        rows = 0

        def forward(self, images):
            Counted.rows += len(images)
            return super().forward(images)

    counted = Counted(net.weight.detach(), net.bias.detach())
    again = measure(counted, pixels, dataset, smoothing, tmp_path)
    assert again == whole
    assert path.read_text() == text
    spent = Counted.rows
    measure(counted, pixels, dataset, smoothing, tmp_path)
    assert Counted.rows - spent <= 1  # the one image that the batch size is chosen with
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["truth"] for r in rows] == ["b", "a", "b"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    net = two_classes()
    pixels, dataset = toy(net, at_distances(net, [0.1]), np.array([1]))
    smoothing = Smoothing(SIGMA, samples=20, attack=None)
    rows = measure(net, pixels, dataset, smoothing, tmp_path)
    assert rows[0].attack_found is None
    with pytest.raises(InputError, match=r"sigma: 0\.25 there, 0\.5 here"):
        measure(net, pixels, dataset, replace(smoothing, sigma=0.5), tmp_path)
    (tmp_path / "certify.csv").write_text("a,b\n")
    with pytest.warns(UserWarning, match=r"certify\.csv is damaged .* is measured again"):
        assert measure(net, pixels, dataset, smoothing, tmp_path) == rows
    (tmp_path / "evaluation.json").unlink()
    with pytest.raises(InputError, match=r"has no evaluation\.json beside it"):
        measure(net, pixels, dataset, smoothing, tmp_path)


def test_two_processes_do_not_write_at_once(tmp_path):
    net = two_classes()
    pixels, dataset = toy(net, at_distances(net, [0.1]), np.array([1]))
    with ResultsStore(tmp_path).claim("certify"), pytest.raises(InputError, match="another process is writing"):
        measure(net, pixels, dataset, Smoothing(SIGMA, samples=20, attack=None), tmp_path)


def test_a_certificate_beyond_an_attack_raises_the_alarm(tmp_path):
    net = two_classes()
    pixels, dataset = toy(net, at_distances(net, [0.1, 0.3]), np.array([1, 1]))
    smoothing = Smoothing(SIGMA, samples=60, attack=4)
    rows = measure(net, pixels, dataset, smoothing, tmp=tmp_path)
    assert alarm(rows, smoothing) == {"n": 2, "violations": 0, "message": None}
    broken = [rows[0], rows[1]._replace(attack_rms=rows[1].certified_rms / 2)]
    found = alarm(broken, smoothing)
    assert found["violations"] == 1
    assert "image 1, a toy" in found["message"]
    assert alarm([r._replace(right=False) for r in broken], smoothing)["violations"] == 0
