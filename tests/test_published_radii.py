"""The committed table of radii beside the figures that the networks' author published."""

from __future__ import annotations

import pytest

from helpers.published_radii import committed

PUBLISHED = {  # the author's README, on 1,000 other test images
    ("standard", "attack"): 0.0013,
    ("standard", "btr"): 0.0015,
    ("all", "attack"): 0.0188,
    ("all", "btr"): 0.0414,
}


@pytest.mark.parametrize(("network", "kind"), list(PUBLISHED))
def test_the_committed_table_agrees_with_the_publication(network, kind):
    rows = [r for r in committed("minimal_attacks.csv") if (r["network"], r["kind"]) == (network, kind)]
    (paper,) = [r for r in rows if r["method"] == "woods2019" and r["images"] == "512"]
    assert paper["found"] == paper["attacked"]
    low, high = float(paper["ara 95 % low"]), float(paper["ara 95 % high"])
    published = PUBLISHED[network, kind]
    assert low <= published <= high or abs(float(paper["ara lower"]) / published - 1) <= 0.15
    (ours,) = [r for r in rows if r["method"] == "tight" and r["images"] == "512"]
    assert ours["found"] == ours["attacked"]
    most = 0.97 if kind == "btr" else {"all": 0.71, "standard": 0.88}[network]
    assert float(ours["ratio of mean radii"]) <= most


BUDGETS = {("attack", "tight-1"): 43, ("attack", "tight-2"): 65, ("attack", "tight-4"): 129}
BUDGETS |= {("btr", "tight-1"): 60, ("btr", "tight-2"): 117, ("btr", "tight-4"): 229}


def test_the_committed_table_of_efforts_keeps_the_budgets_and_misses_one_aim_by_little():
    rows = {(r["network"], r["kind"], r["method"]): r for r in committed("tight_efforts.csv")}
    for (_, kind, method), row in rows.items():
        if method.startswith("tight"):
            assert row["found"] == row["attacked"]
            assert float(row["gradient evaluations"]) <= BUDGETS[kind, method]
    assert float(rows["resnet44-all", "btr", "tight-2"]["ratio"]) <= 0.93
    for kind, network in ((kind, network) for kind in ("attack", "btr") for network in ("all", "standard")):
        assert rows[f"resnet44-{network}", kind, "tight-2"]["images"] == "512"
    assert float(rows["resnet44-standard", "attack", "tight-2"]["ratio"]) <= 0.87
    assert 0.70 < float(rows["resnet44-all", "attack", "tight-2"]["ratio"]) <= 0.705  # .70 is missed
    for method in ("tight-1", "tight-2", "tight-4"):
        assert float(rows["convex-small-36px", "attack", method]["optimality"]) >= 0.95
