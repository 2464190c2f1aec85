"""The annotation page's modules by themselves, in a browser: geometry, what is rendered where, window, undo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pellucid.annotator
from pellucid.annotations.shapes import shape_from_json, shape_mask

pytestmark = pytest.mark.browser
STATIC = Path(pellucid.annotator.__file__).parent / "static"


@pytest.fixture(scope="module")
def modules(browser):
    """A page that may import the modules, at 1.5 pixels of the screen to one of CSS."""
    page = browser.new_page(device_scale_factor=1.5)

    def answer(route):
        name = route.request.url.rpartition("/")[2]
        if name:
            route.fulfill(path=STATIC / name, content_type="text/javascript")
        else:
            route.fulfill(body="<!DOCTYPE html><canvas></canvas>", content_type="text/html")

    page.route("**/*", answer)
    page.goto("http://stage.test/")
    yield page
    page.close()


def call(page, module, body, argument):
    return page.evaluate(f"async (given) => {{ const m = await import('/{module}.js'); {body} }}", argument)


SIZES = st.tuples(st.integers(8, 4096), st.integers(8, 4096))
FRACTION = st.floats(0, 1)
STEP = st.one_of(
    st.tuples(st.just("zoom"), FRACTION, FRACTION, st.floats(0.2, 5)),
    st.tuples(st.just("pan"), st.floats(-3000, 3000), st.floats(-3000, 3000)),
)
WALK = """const [w, h] = given.image, [sw, sh] = given.stage;
  const image = {width: w, height: h}, stage = {width: sw, height: sh};
  let view = m.fit(image, stage);
  for (const [what, a, b, by] of given.steps)
    if (what === 'zoom') view = m.zoomed(view, {x: a * sw, y: b * sh}, by, image, stage);
    else view = m.panned(view, a, b, image, stage);
  const seen = given.points.map(([x, y]) => m.toStage(view, {x: x * w, y: y * h}));
  const back = seen.map((p) => m.toImage(view, p));
  return {view, least: m.fit(image, stage).scale, seen: seen.map((p) => [p.x, p.y]),
          rectangles: back.slice(1).map((p, i) => m.rectangle(back[i], p, image)),
          strokes: back.slice(1).map((p, i) => m.brush([back[i], p], 0.1, image, 10000))};"""


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    image=SIZES,
    stage=st.tuples(st.floats(200, 3000), st.floats(200, 2000)),
    steps=st.lists(STEP, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_drawn_at_any_zoom_comes_back_in_pixels_of_the_image(modules, image, stage, steps, seed):
    points = np.random.default_rng(seed).uniform(size=(40, 2)).round(seed % 9)
    given = {"image": image, "stage": stage, "steps": steps, "points": points.tolist()}
    found = call(modules, "geometry", WALK, given)
    view, frame = found["view"], np.array(image)
    # where a point is seen is what the view says, and the view leaves no gap that need not be
    origin = np.array([view["x"], view["y"]])
    np.testing.assert_allclose(found["seen"], origin + view["scale"] * points * frame, rtol=1e-9, atol=1e-6)
    assert view["scale"] >= found["least"] * (1 - 1e-9)
    for low, high, room in zip(origin, origin + view["scale"] * frame, stage, strict=True):
        if high - low <= room:
            assert low == pytest.approx(room - high, abs=1e-6)
        else:
            assert low <= 1e-6
            assert high >= room - 1e-6
    # and it comes back, far better than to half a pixel
    for start, end, shape, stroke in zip(points, points[1:], found["rectangles"], found["strokes"], strict=False):
        ends = np.array([start, end]) * frame
        if shape is None:
            assert np.abs(ends[0] - ends[1]).min() < 0.01
        else:
            drawn = np.array([[shape["x"], shape["y"]], [shape["x"] + shape["width"], shape["y"] + shape["height"]]])
            np.testing.assert_allclose(drawn * frame, [ends.min(0), ends.max(0)], atol=0.01)
            shape_from_json(shape)
        np.testing.assert_allclose(np.array(stroke["points"])[[0, -1]] * frame, ends, atol=0.01)
        shape_from_json(stroke)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(
        st.lists(st.tuples(st.floats(-20, 276), st.floats(-20, 276)), min_size=3, max_size=60), min_size=20, max_size=40
    )
)
def test_thinner_lines_are_the_same_lines(modules, lines):
    body = """return given.map((line) => m.thinned(line.map(([x, y]) => ({x, y}))).map((p) => [p.x, p.y]));"""
    for line, thin in zip(lines, call(modules, "geometry", body, lines), strict=True):
        ends = np.array(thin)
        for point in np.array(line):  # no point of the line is further than the tolerance from the thinner one
            start, along = ends[:-1], np.diff(ends, axis=0)
            length = np.maximum((along**2).sum(1), 1e-12)
            t = np.clip(((point - start) * along).sum(1) / length, 0, 1)
            assert np.hypot(*(start + t[:, None] * along - point).T).min() < 0.2 + 1e-6


def test_long_strokes_are_cut_down_to_what_the_server_takes(modules):
    angle = np.linspace(0, 2 * np.pi, 20_000)
    reach = 300 + 100 * np.sin(900 * angle)  # as somebody's who hatches
    hatched = np.stack([500 + reach * np.cos(angle), 500 + reach * np.sin(angle)], 1).tolist()
    body = """const points = given.map(([x, y]) => ({x, y})), image = {width: 1000, height: 1000};
        return [m.brush(points, 0.01, image, 400), m.polygon(points, image, 400)].map((s) => s.points.length);"""
    assert all(3 <= count <= 400 for count in call(modules, "geometry", body, hatched))


def test_a_circle_drawn_freehand_covers_a_circle(modules):
    angle = np.linspace(0, 2 * np.pi, 500)
    circle = np.stack([100 + 60 * np.cos(angle), 100 + 60 * np.sin(angle)], 1).tolist()
    body = "return m.polygon(given.map(([x, y]) => ({x, y})), {width: 200, height: 200}, 10000);"
    shape = call(modules, "geometry", body, circle)
    assert len(shape["points"]) < 120
    y, x = np.mgrid[:200, :200] + 0.5
    wrong = shape_mask(shape_from_json(shape), 200) != (np.hypot(x - 100, y - 100) < 60)
    distance = np.abs(np.hypot(x - 100, y - 100) - 60)
    assert distance[wrong].max() < 0.5


RENDER = """
  const {fit, zoomed} = await import('/geometry.js');
  const canvas = document.querySelector('canvas');
  Object.assign(canvas.style, {position: 'fixed', left: 0, top: 0});
  [canvas.style.width, canvas.style.height] = given.stage.map((length) => length + 'px');
  const box = (w, h, [x0, y0, x1, y1]) => { const c = document.createElement('canvas'); c.width = w; c.height = h;
    const g = c.getContext('2d'); g.fillStyle = '#000'; g.fillRect(0, 0, w, h);
    g.fillStyle = '#fff'; g.fillRect(x0 * w, y0 * h, (x1 - x0) * w, (y1 - y0) * h); return c; };
  const [w, h] = given.image, image = {width: w, height: h, frame: given.frame}, scene = new m.Scene(canvas);
  const view = zoomed(fit(image, scene.size()), {x: given.at[0], y: given.at[1]}, given.zoom, image, scene.size());
  const [x0, y0, x1, y1] = given.box;
  const shape = {type: 'rectangle', x: x0, y: y0, width: x1 - x0, height: y1 - y0};
  const blank = box(w, h, [0, 0, 0, 0]), levels = Object.freeze({centre: 127.5, width: 255});
  const shown = {view, image, levels, marks: [], pixels: blank};
  const what = {
    image: {...shown, pixels: box(w, h, given.box)},
    moved: {...shown, explanation: {picture: box(...given.network, given.box), heat: false, blend: 1}},
    heat: {...shown, explanation: {picture: box(...given.network, given.box), heat: true, blend: 1}},
    mark: {...shown, marks: [{shape, kind: 'relevant'}]},
  }[given.what];
  scene.draw(what);
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  const level = given.what === 'mark' ? 100 : 128; /* the line of a mark is blue */
  for (let y = 0; y < canvas.height; y++) for (let x = 0; x < canvas.width; x++) {
    if (data[4 * (y * canvas.width + x) + 1] > level) { left = Math.min(left, x); right = Math.max(right, x + 1);
      top = Math.min(top, y); bottom = Math.max(bottom, y + 1); } }
  const [px, py] = [canvas.width / given.stage[0], canvas.height / given.stage[1]];
  return {seen: [left / px, top / py, right / px, bottom / py], view, ratio: devicePixelRatio};"""


@pytest.mark.parametrize("what", ["image", "moved", "heat", "mark"])
@pytest.mark.parametrize(
    ("image", "stage", "zoom"),
    [((64, 64), (400, 300), 1), ((96, 48), (333.3, 251.7), 1.7), ((40, 80), (300, 420), 2.3)],
)
def test_what_is_seen_is_where_the_geometry_says(modules, what, image, stage, zoom):
    corners = (0.375, 0.375, 0.625, 0.625)  # whole pixels of every picture here
    case = {"what": what, "image": image, "stage": stage, "zoom": zoom, "box": corners, "network": (32, 32)}
    case["frame"] = (0, 0, 1, 1)
    found = call(modules, "scene", RENDER, {**case, "at": (stage[0] / 2, stage[1] / 2)})
    assert found["ratio"] == 1.5
    view = found["view"]
    expected = [view[a] + view["scale"] * c * n for c, a, n in zip(corners, "xyxy", image * 2, strict=True)]
    line = 1.0 if what == "mark" else 0.0  # half of the line's width lies outside
    expected = [e + sign * line for e, sign in zip(expected, (-1, -1, 1, 1), strict=True)]
    # smoothing moves the half-way value of an edge by nothing; heat colours are no straight line
    allowed = {"heat": 0.35 * view["scale"] * image[0] / 32}.get(what, 0.0) + 1 / 1.5
    assert found["seen"] == pytest.approx(expected, abs=allowed)
    assert allowed < max(0.5 * view["scale"], 1.0) * (image[0] / 32)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((-0.25, 0, 1.5, 1), (0.3125, 0.375, 0.6875, 0.625)),  # padded on both sides: the middle is drawn wider
        ((0.25, 0.25, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)),  # a crop: the line around it is what is seen outermost
    ],
)
def test_an_explanation_lies_over_what_the_network_saw(modules, frame, expected):
    corners, image, stage = (0.375, 0.375, 0.625, 0.625), (64, 64), (400, 300)
    case = {"what": "moved", "image": image, "stage": stage, "zoom": 1, "box": corners, "network": (32, 32)}
    found = call(modules, "scene", RENDER, {**case, "frame": frame, "at": (200, 150)})
    view = found["view"]
    places = [view[a] + view["scale"] * c * n for c, a, n in zip(expected, "xyxy", image * 2, strict=True)]
    assert found["seen"] == pytest.approx(places, abs=1.5)
    assert 0.5 * view["scale"] > 1.5  # half a pixel of the image


def test_window_and_level_are_a_straight_line_cut_off(modules):
    given = [[127.5, 255], [100, 50], [200, 400]]
    tables = call(modules, "levels", "return given.map(([centre, width]) => [...m.table({centre, width})]);", given)
    for (centre, width), values in zip(given, tables, strict=True):
        expected = np.clip(((np.arange(256) - centre) / width + 0.5) * 255, 0, 255)
        np.testing.assert_allclose(values, expected, atol=0.5 + 1e-6)
    assert tables[0] == list(range(256))


def test_heat_colours_are_matplotlibs_inferno(modules):
    import matplotlib as mpl

    values = np.linspace(0, 1, 41)
    colours = call(modules, "heat", "return given.map(m.colour);", values.tolist())
    np.testing.assert_allclose(colours, mpl.colormaps["inferno"](values)[:, :3] * 255, atol=10)  # eleven places of it
    covers = np.array(
        call(modules, "heat", "return given.map((v) => [0, 0.5, 1].map((b) => m.cover(v, b)));", values.tolist())
    )
    assert (covers[:, 0] == 0).all()
    assert (covers[:, 2] == 1).all()
    assert (np.diff(covers[:, 1]) > 0).all()


ACTIONS = st.lists(st.sampled_from(["mark", "answer", "remove", "undo", "redo"]), max_size=25)
REPLAY = """const log = [];
  const start = {id: 'a', state: 'offered', note: '', marks: [], classes: [{class: 'c', index: 0, verdict: null}]};
  const sheet = new m.Sheet(m.withPending(start, []), (entry) => log.push(JSON.parse(JSON.stringify(entry))));
  const plain = (image) => JSON.stringify([image.marks.map((k) => k.shape.n).sort(), image.classes[0].verdict]);
  const done = [plain(sheet.image)], undone = []; let n = 0;
  for (const action of given) {
    const before = plain(sheet.image);
    if (action === 'mark') sheet.addMark('c', 'relevant', {n: n++});
    else if (action === 'answer') sheet.answer(0, `v${n++}`);
    else if (action === 'remove' && sheet.image.marks.length) sheet.removeMark(sheet.image.marks[0]);
    else if (action === 'undo' && done.length > 1) { sheet.undo(); undone.push(done.pop());
      if (plain(sheet.image) !== done.at(-1)) return 'undo'; continue; }
    else if (action === 'redo' && undone.length) { sheet.redo(); done.push(undone.pop());
      if (plain(sheet.image) !== done.at(-1)) return 'redo'; continue; }
    else continue;
    if (plain(sheet.image) !== before) { done.push(plain(sheet.image)); undone.length = 0; }
  }
  const ids = log.filter((e) => e.method === 'PUT' && e.path.includes('/marks/')).map((e) => e.path);
  if (new Set(ids).size !== ids.length) return 'an id was used twice';
  return plain(m.withPending(start, log)) === plain(sheet.image) ? 'same' : 'what was sent is not what is seen';"""


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=ACTIONS)
def test_undo_and_redo_retrace_every_step_and_the_server_hears_of_them(modules, actions):
    assert call(modules, "sheet", REPLAY, actions) == "same"


def test_the_documentation_lists_every_key(modules):
    rows = call(modules, "keyboard", "return m.KEYS.map(([, keys, does]) => [keys, does]);", None)
    text = (Path(__file__).parents[1] / "docs" / "annotation.md").read_text(encoding="utf-8")
    assert len(rows) > 20
    for keys, does in rows:
        assert f"| {' / '.join(f'`{key}`' for key in keys.split(' / '))} | {does} |" in text


def test_no_module_asks_anybody_but_its_server():
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in [*STATIC.iterdir(), *STATIC.parent.glob("templates/*")]
    }
    assert len(texts) > 15
    assert [name for name, text in texts.items() if "http:" in text or "https:" in text or "//cdn" in text] == []
    markup = {name: text for name, text in texts.items() if name.endswith(".html")}
    assert [name for name, text in markup.items() if " style=" in text or " onclick=" in text] == []
    assert [name for name, text in texts.items() if "innerHTML" in text or "eval(" in text] == []
    assert sorted(name.removesuffix(".html") for name in markup) == [
        "enter", "page", "refused", "signin", "suspect", "who"
    ]  # fmt: skip
