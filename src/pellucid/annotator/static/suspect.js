/* One suspect: its region on an image that shows it, drawn anew or accepted, and one mark for all images that show it. */

import { ask, Refused, speakAs } from "./api.js";
import { find, make } from "./dom.js";
import { listenForName } from "./who.js";

const SVG = find("picture").namespaceURI;
const KEYS = ["x", "y", "w", "h"];
const about = JSON.parse(find("about").textContent);
let box = about.boxes ? about.boxes[0] : null; // x, y, width, height in pixels of the frame; null as it was found
let marked = about.marked;
let example = 0;

const outline = ([x, y, w, h]) => `M${x} ${y} L${x + w} ${y} L${x + w} ${y + h} L${x} ${y + h} Z`;
const whole = (value, most) => Math.min(Math.max(Math.round(value), 0), most);

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function draw() {
  const own = about.examples[example]?.boxes ?? [];
  const region = about.adjustable ? (box ? outline(box) : about.found) : own.map(outline).join(" ");
  const picture = { href: `/api/suspect/pictures/${example}.png`, width: about.width, height: about.height };
  find("picture").replaceChildren(
    ...(about.annotator !== null && about.examples.length ? [shape("image", picture)] : []),
    shape("path", { class: "differs", d: about.differs }),
    shape("path", { class: "marked", d: region }),
  );
  for (const each of find("examples").querySelectorAll("button")) {
    each.setAttribute("aria-pressed", String(Number(each.dataset.place) === example));
  }
  if (about.adjustable) KEYS.forEach((key, i) => (find(`box-${key}`).value = box ? box[i] : ""));
  find("undo").disabled = marked === null;
}

function tell(text, bad = false) {
  find("state").textContent = text;
  find("state").toggleAttribute("data-bad", bad);
}

const stateText = () => (marked ? `Marked on ${marked.images} images by ${marked.by}.` : "Not marked yet.");

async function change(method, body) {
  for (const id of ["accept", "undo"]) find(id).disabled = true;
  try {
    const answer = await ask(method, "/api/suspect", body);
    marked = answer.marked;
    if (answer.boxes) box = answer.boxes[0];
    tell(stateText());
  } catch (error) {
    if (error instanceof Refused && error.status === 401) window.location.reload();
    tell(`Not saved: ${error.message}`, true);
  }
  find("accept").disabled = false;
  draw();
}

/* Where the pointer is, in pixels of the frame. */
function place(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(find("picture").getScreenCTM().inverse());
  return [point.x, point.y];
}

/* A rectangle by dragging: from the first pixel touched to the last, both inside. */
function listenToStage() {
  const stage = find("picture");
  let first = null;
  stage.classList.add("adjustable");
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    first = place(event);
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (first === null) return;
    const ends = place(event).map((value, i) => [Math.min(value, first[i]), Math.max(value, first[i])]);
    const [left, right] = [whole(Math.floor(ends[0][0]), about.width - 1), whole(Math.ceil(ends[0][1]), about.width)];
    const [top, bottom] = [whole(Math.floor(ends[1][0]), about.height - 1), whole(Math.ceil(ends[1][1]), about.height)];
    box = [left, top, Math.max(right - left, 1), Math.max(bottom - top, 1)];
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (first = null));
  KEYS.forEach((key, i) =>
    find(`box-${key}`).addEventListener("change", (event) => {
      const most = i % 2 ? about.height : about.width;
      box = box ?? [0, 0, about.width, about.height];
      box[i] = Math.max(whole(Number(event.target.value), most), i > 1 ? 1 : 0);
      draw();
    }),
  );
  find("as-found").addEventListener("click", () => {
    box = null;
    draw();
  });
}

function start() {
  speakAs(about.annotator);
  find("who").textContent = about.annotator;
  find("examples").replaceChildren(
    ...about.examples.map(({ name }, i) =>
      make("li", {}, make("button", { type: "button", "data-place": i, title: name, on: { click: () => ((example = i), draw()) } },
        make("img", { src: `/api/suspect/pictures/${i}.png`, alt: name }))),
    ),
  );
  find("accept").addEventListener("click", () => change("PUT", { box }));
  find("undo").addEventListener("click", () => change("DELETE"));
  if (about.adjustable) listenToStage();
  tell(stateText());
}

listenForName();
if (about.annotator === null) {
  find("signin").addEventListener("cancel", (event) => event.preventDefault());
  find("signin").showModal();
} else start();
draw();
