"""The page with the slider in a real browser: it moves, it loads nothing from elsewhere, and it fits every screen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import report as example
from helpers.axe import violations
from helpers.charts import empty_charts
from helpers.models import small
from pellucid.data import materialize, open_dataset
from pellucid.models import load_model, save_model
from pellucid.models.inference import probabilities
from pellucid.report import write_report
from pellucid.report.pages.slider import Column, Slide, fragment, write_slider
from pellucid.report.pictures.perturbed import as_picture, data_address, difference_picture, percent
from pellucid.study import load_study
from pellucid.study.runs import PlannedRun
from pellucid.study.slides import make_slides
from pellucid.types import InputSpec

CLASSES = ("cat", "dog", "<b>newt</b>")
RHOS = (0.05, 0.1, 0.2)


def slide(labels=("",), title="one.png", size=16, channels=1):
    """Sizes 3, classes 2; every picture differs from every other."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0.2, 0.8, (channels, size, size))
    columns = []
    for label in labels:
        pictures = np.stack([[image + rho * (e + 1) / 2 for e in range(2)] for rho in RHOS])
        raised = [[[0.1 + rho, 0.2, 0.5], [0.1, 0.2 + rho, 0.5]] for rho in RHOS]
        rms = np.array([[rho, rho] for rho in RHOS])
        columns.append(Column(label, pictures, rms, np.array(raised), np.array([0.1, 0.2, 0.5]), 17))
    return Slide(title, "shows cat", image, CLASSES, [0, 1], RHOS, "raise", "tight", columns)


@pytest.fixture
def opened(browser):
    """Open a file; whatever it asks for or complains of fails the test."""
    pages, asked, complaints = [], [], []

    def go(path, width=1000):
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("request", lambda r: asked.append(r.url))
        page.on("console", lambda m: complaints.append(m.text))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.goto(path.as_uri())
        page.wait_for_load_state("networkidle")
        pages.append((page, path))
        return page

    yield go
    for page, _ in pages:
        page.close()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri() for _, path in pages]
    assert complaints == []


def state(page, column=0):
    """What is seen: picture, size, confidence of the first class, words."""
    return (
        page.locator(".slide-image").nth(column).get_attribute("src"),
        page.locator(".slide-size").first.inner_text(),
        page.locator(".slide-text").first.inner_text(),
        page.locator(".slide-told").nth(column).inner_text(),
    )


@pytest.mark.browser
def test_the_slider_moves_picture_confidence_and_words(opened, tmp_path):
    page = opened(write_slider([slide()], tmp_path / "slider.html", title="T"))
    assert state(page)[1:] == ("0.05", "15 %", "moved for cat, RMS 0.050")  # something is seen at once
    page.get_by_label("Size ρ").fill("0")
    first = state(page)
    assert first[1:] == ("0", "10 %", "the image itself")
    slider = page.get_by_label("Size ρ")
    slider.focus()
    seen = [first]
    for rho, chance in (("0.05", "15 %"), ("0.1", "20 %"), ("0.2", "30 %")):
        page.keyboard.press("ArrowRight")
        seen.append(state(page))
        assert seen[-1][1:] == (rho, chance, f"moved for cat, RMS {float(rho):.3f}")
        assert slider.get_attribute("aria-valuetext") == rho
    assert len({picture for picture, *_ in seen}) == 4
    widths = page.locator(".slide-bar i").evaluate_all("bars => bars.map(b => b.style.width)")
    assert widths == ["30%", "20%", "50%"]
    page.keyboard.press("Home")
    assert state(page) == first


@pytest.mark.browser
def test_another_class_and_the_difference_can_be_chosen(opened, tmp_path):
    page = opened(write_slider([slide()], tmp_path / "slider.html", title="T"))
    page.get_by_label("Size ρ").fill("2")
    cat = state(page)
    assert page.locator("tr.explained th").inner_text() == "cat"
    page.get_by_label("Class", exact=True).select_option("dog")
    dog = state(page)
    assert dog[0] != cat[0]
    assert dog[2:] == ("10 %", "moved for dog, RMS 0.100")
    assert page.locator("tr.explained th").inner_text() == "dog"
    page.get_by_label("show the difference").check()
    assert state(page)[0] not in (cat[0], dog[0])
    assert state(page)[3].startswith("difference from the image, for dog")
    page.get_by_label("Size ρ").fill("0")
    assert state(page)[3] == "the image itself"
    alternatives = page.locator(".slide-image").evaluate_all("i => i.map(x => [x.alt.length, x.naturalWidth])")
    assert all(length > 0 and width == 16 for length, width in alternatives)


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_screen_with_two_networks(opened, tmp_path, width):
    slides = [slide(("plain", "robust"), title="a" * 60), slide(size=80, channels=3)]
    page = opened(write_slider(slides, tmp_path / "slider.html", title="T"), width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".slide-rho").first.fill("3")
    assert state(page, 0)[0] == state(page, 1)[0]  # both networks move with one slider
    assert state(page, 0)[0] != state(page, 2)[0]
    assert page.locator(".slide-size").nth(1).inner_text() == "0.05"  # the other image does not
    places = page.evaluate(
        "() => [...document.querySelectorAll('.slide-image')].map(i => i.getBoundingClientRect().top)"
    )
    assert places[0] == places[1]  # side by side
    widths = page.locator(".slide-bar").evaluate_all("cells => cells.map(c => c.getBoundingClientRect().width)")
    assert min(widths) > 100  # a bar has no text that would hold its cell open


@pytest.mark.browser
def test_images_stand_in_line_where_one_name_takes_two_lines(opened, tmp_path):
    slides = [slide(("plain", "a robust network with a long name"))]
    page = opened(write_slider(slides, tmp_path / "slider.html", title="T"), 390)
    names, images, bars = (
        page.locator(f".{name}").evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())")
        for name in ("slide-network", "slide-image", "slide-bars")
    )
    lines = page.locator(".slide-network").evaluate_all(
        "all => all.map(e => { const r = document.createRange(); r.selectNodeContents(e);"
        " return r.getClientRects().length; })"
    )
    assert lines[0] == 1 < lines[1]
    assert names[0]["left"] < names[1]["left"]  # beside each other
    for pair in (images, bars):
        assert pair[0]["top"] == pair[1]["top"]
        assert pair[0]["width"] > 120


@pytest.mark.browser
def test_it_plays_to_the_end_and_bars_of_two_classes_stay_bars(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.report.pages.slider.PAUSE", 20)
    page = opened(write_slider([slide()], tmp_path / "slider.html", title="T"))
    page.get_by_role("button", name="Play").click()
    page.locator(".slide[data-at='3']").wait_for()
    page.get_by_role("button", name="Play").wait_for()
    assert "16 × 16 pixels, which are drawn as squares" in page.locator("main").inner_text()
    heights = page.locator(".slide-bars tr").evaluate_all("rows => rows.map(r => r.getBoundingClientRect().height)")
    assert max(heights) < 40
    assert violations(page) == []


@pytest.mark.browser
def test_a_hostile_name_stays_text(opened, tmp_path):
    hostile = "</script><script>document.title = 'taken'</script>"
    page = opened(write_slider([slide(title=hostile)], tmp_path / "slider.html", title=hostile))
    page.get_by_label("Size ρ").fill("1")
    assert page.title() == hostile
    assert hostile in page.locator("article h2").inner_text()
    assert page.locator(".slide-bars th").last.inner_text() == "<b>newt</b>"


@pytest.mark.browser
@empty_charts()
def test_the_report_holds_its_sliders(opened, tmp_path):
    study = example.results()
    study["rows"] = [r for r in study["rows"] if r["section"] == "robustness"]  # few charts: they take long
    report = write_report(study, [], tmp_path, [slide(("plain", "robust"))])
    page = opened(report)
    assert page.locator("#sliders h2").inner_text() == "What the networks would have to see"
    before = state(page)
    page.get_by_label("Size ρ").fill("2")
    assert state(page)[0] != before[0]
    assert page.locator("nav a[href='#sliders']").count() == 1
    without = write_report(study, [], tmp_path / "without").read_text(encoding="utf-8")
    assert "slide-rho" not in without


def test_the_page_is_one_file_that_names_its_own_script(tmp_path):
    text = write_slider([slide()], tmp_path / "slider.html", title="T").read_text(encoding="utf-8")
    assert "script-src 'sha256-" in text
    assert "http" not in text.replace("http-equiv", "")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "slider.html"]


@pytest.mark.slow
def test_a_study_puts_its_networks_side_by_side(tmp_path):
    study = load_study("demo", ["data.options={size=32, train=8, validation=8, test=24, prevalence=0.4}"])
    test = open_dataset("phantom", options=study.data.options)["test"]
    stage = SimpleNamespace(test=test, images=materialize(test, InputSpec.square(1, 32)))  # all that is looked at
    runs = []
    for seed in (0, 1):
        for i, variant in enumerate(study.variants):
            net = small(10 * seed + i, classes=test.classes)
            folder = save_model(net, tmp_path / f"{variant.label}{seed}", extra={"thresholds": [0.5] * 8})
            runs.append(PlannedRun(variant.label, seed, None, folder))
    slides = make_slides(study.evaluation.adversarial, stage, runs, "cpu")
    assert len(slides) == study.evaluation.adversarial.cases == 2
    first_shown = []
    for made in slides:
        row = test.ids.index(made.title)
        shown = [int(c) for c in np.flatnonzero(test.targets[row])]
        first_shown.append(shown[0])
        assert list(made.explained[: len(shown)]) == shown[:4]
        assert len(made.explained) == 4
        assert [c.label for c in made.columns] == ["baseline", "robust"]
        pixels = torch.from_numpy(made.image[None]).float()
        for column, run in zip(made.columns, runs, strict=False):  # the first seed's
            expected = probabilities(load_model(run.folder)(pixels).detach().numpy(), "multilabel")[0]
            np.testing.assert_allclose(column.before, expected, rtol=1e-4)
            np.testing.assert_allclose(column.rms, np.repeat(np.array(made.rhos)[:, None], 4, 1), rtol=1e-3)
    assert len(set(first_shown)) == 2
    nothing = load_study("demo", ["evaluation.adversarial.cases=0"])
    assert make_slides(nothing.evaluation.adversarial, stage, runs, "cpu") == []


def test_many_classes_show_the_explained_and_the_most_probable():
    count = 40
    before = np.linspace(0, 1, count)
    image = np.full((1, 8, 8), 0.5)
    column = Column("", image[None, None], np.ones((1, 1)), before[None, None], before, 17)
    names = [f"class {i}" for i in range(count)]
    made = fragment(Slide("t", "", image, names, [3], (0.1,), "raise", "tight", [column]), "s")
    told = [bar["class_name"] for bar in made["columns"][0]["bars"]]
    assert told == ["class 3", *(f"class {i}" for i in range(25, 40))]
    assert made["cost"] == 17


def test_differences_are_signed_and_their_scale_is_fixed():
    change = np.array([[[-0.3, -0.1, 0.0, 0.1, 0.3, 0.9]]])
    gray = difference_picture(change, 0.1)[0].astype(int)
    blue, red = gray[:, 2] - gray[:, 0], gray[:, 0] - gray[:, 2]
    assert (blue[:2] > 30).all()
    assert (red[3:] > 30).all()
    assert (gray[2] > 240).all()  # nothing changed: white
    assert (gray[4] == gray[5]).all()  # beyond three times rho the colour ends
    colour = difference_picture(np.array([0.3, 0.0, -0.3]).reshape(3, 1, 1), 0.1)
    assert colour.tolist() == [[[255, 128, 0]]]


def test_pictures_are_exact_where_small(tmp_path):
    picture = as_picture(np.random.default_rng(0).uniform(-0.1, 1.1, (3, 32, 32)))
    import base64
    import io

    head, _, data = data_address(picture).partition(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), picture)
    assert data_address(np.zeros((65, 65), dtype=np.uint8)).startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(("chance", "text"), [(0.0, "< 0.1 %"), (1.0, "> 99.9 %"), (0.314, "31 %"), (0.056, "5.6 %")])
def test_a_confidence_is_never_rounded_to_certainty(chance, text):
    assert percent(chance) == text
