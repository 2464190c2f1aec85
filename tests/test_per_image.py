"""What a study keeps image by image: its figures come out of it again, without networks or data."""

from __future__ import annotations

import json
import shutil

import pytest

from helpers.training import TWO_VARIANTS
from pellucid.study import load_study, run_study
from pellucid.study.judging import AGAIN, judge_again
from pellucid.types import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_charts")]

TINY = [
    TWO_VARIANTS,
    "seeds=[0, 1]",
    "data.options={size=32, train=16, validation=8, test=16, prevalence=0.4}",
    "settings.model={name='small', size=32, options={widths=[4], blocks=[1], strides=[2]}}",
    "settings.training={epochs=1, batch_size=8}",
    "evaluation.robustness={sizes=['pgd:linf=0.01'], steps=1, limit=6}",
    "evaluation.ara={kinds=['attack'], protocol='woods2019', limit=6}",
    "evaluation.resamples=100",
    "evaluation.trust.methods=[]",
    "evaluation.adversarial.cases=0",
    "evaluation.panels=0",
    "evaluation.methods=['cam']",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "tiny"
    run_study(load_study("demo", TINY), None, out, device="cpu", jobs=1)
    return out


@pytest.fixture
def copied(finished, tmp_path):
    """The parts of a study's folder that are small enough to be committed."""
    for name in ("results.json", "per-image.npz"):
        shutil.copyfile(finished / name, tmp_path / name)
    return tmp_path


def test_the_same_figures_come_out_again(finished, copied):
    before = json.loads((finished / "results.json").read_text())
    judge_again(load_study("demo", TINY), copied)
    after = json.loads((copied / "results.json").read_text())

    def place(row):
        return json.dumps(
            {k: row[k] for k in ("section", "metric", "class", "variant", "target", "method", "gate", "at")}
            | {"threshold": row["threshold"]}
        )

    rows = {place(row): row for row in after["rows"]}
    assert len(rows) == len(before["rows"]) == len(after["rows"])
    for row in before["rows"]:
        again = rows[place(row)]
        for key in ("value", "low", "high", "seeds", "n", "reason"):
            assert again[key] == (
                pytest.approx(row[key], abs=1e-6) if row[key] is not None and key != "reason" else row[key]
            )
        if row["difference"]:
            for question in ("networks", "recipes"):
                for key in ("error_below", "error_above", "p_corrected"):
                    told = row["difference"][question][key]
                    assert again["difference"][question][key] == (
                        told if told is None else pytest.approx(told, abs=1e-4)
                    )
    assert after["conclusion"] == before["conclusion"]
    assert after["ara"] == before["ara"]
    assert AGAIN in after["limits"]
    assert AGAIN in (copied / "report.html").read_text()
    assert (finished / "per-image.npz").stat().st_size < 100_000


def test_other_margins_and_comparisons_are_judged(copied):
    primary = "conclusions.primary=[{metric='average_precision'}]"
    judge_again(load_study("demo", [*TINY, primary, "conclusions.margin={auroc=0.9}"]), copied)
    after = json.loads((copied / "results.json").read_text())
    assert after["primary"] == ["average precision"]
    auroc = [r for r in after["rows"] if (r["section"], r["metric"]) == ("classification", "auroc") and r["difference"]]
    answers = [r["difference"]["networks"] for r in auroc]
    assert {answer["verdict"] for answer in answers if answer["low"] is not None} == {"same"}


def test_comparisons_that_were_chosen_after_the_figures_are_called_so_until_the_first_are_back(copied):
    before = json.loads((copied / "results.json").read_text())
    study = load_study("demo", TINY)
    judge_again(study, copied)
    assert "named before the study ran" in (copied / "report.html").read_text()
    for margin in (0.5, 0.9):  # what was named is kept, however often it is judged again
        judge_again(load_study("demo", [*TINY, f"conclusions.margin={{auroc={margin}}}"]), copied)
        after = json.loads((copied / "results.json").read_text())
        assert after["named_before"] == {"primary": before["primary"], "margins": before["margins"]}
        assert "margins were chosen after the figures were known" in after["conclusion"][0]
        assert before["primary"][0] in after["conclusion"][0]
        assert any(sentence.startswith("Chosen after the figures were known: ") for sentence in after["conclusion"])
        assert not any(sentence.startswith("Primary comparison: ") for sentence in after["conclusion"])
        page = (copied / "report.html").read_text()
        assert "chosen after the figures were known" in page
        assert "named before the study ran" not in page
    judge_again(load_study("demo", [*TINY, "conclusions.margin={recall=0.02}"]), copied)
    *rest, last = json.loads((copied / "results.json").read_text())["conclusion"]
    assert last.startswith("The margins of Recall were stated after the figures were known. Only exploratory comp")
    assert rest == before["conclusion"]  # no primary comparison goes by it
    assert "named before the study ran" in (copied / "report.html").read_text()
    judge_again(study, copied)
    assert json.loads((copied / "results.json").read_text())["conclusion"] == before["conclusion"]


def test_another_study_is_refused_and_so_is_a_folder_without_one(copied, tmp_path):
    with pytest.raises(InputError, match=r"another evaluation \(seeds: \[0, 1\] there, \[0\] here\)"):
        judge_again(load_study("demo", [*TINY, "seeds=[0]"]), copied)
    with pytest.raises(InputError, match="no study to judge again"):
        judge_again(load_study("demo", TINY), tmp_path / "nowhere")
    (copied / "per-image.npz").unlink()
    with pytest.raises(InputError, match=r"per-image.npz is not there"):
        judge_again(load_study("demo", TINY), copied)
