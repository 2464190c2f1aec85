/* Everything that a person can do, by key, button or pointer. */

import { announce, find } from "./dom.js";
import { Draft, inWords } from "./drawing.js";
import { changed, WHOLE } from "./levels.js";
import { listed } from "./panel.js";
import { Pictures } from "./pictures.js";

const RADII = [0.015, 0.03, 0.06];
const LEAST = 4; // CSS pixels: what is smaller is a click, not a region
const AGAIN = 2000; // milliseconds until a picture that did not come is asked for again
const PAUSE = 700; // milliseconds without a key until a note is saved

export class Actions {
  /** @param parts {state, about, flow, stage, pictures, redraw, openPeople} */
  constructor(parts) {
    Object.assign(this, parts);
    this.noteTimer = null;
    this.noted = null; // {sheet, text}: typed, not yet kept
  }

  /* Images. */

  opened(flow) {
    const { state } = this;
    const before = state.sheet?.image;
    this.endDraft(); // on the image that it was begun on
    state.sheet = flow.sheet;
    state.pixels = state.explanation = state.trouble = null;
    state.explained = false;
    state.levels = WHOLE;
    if (state.sheet && !(state.keepClass && before)) state.classIndex = likeliest(state.sheet.image);
    this.stage.reset();
    if (state.sheet) this.loadPixels();
    this.loadExplanation();
    if (before && state.sheet) announce(`next image, class ${this.className()}`);
    this.redraw();
  }

  finish(how) {
    this.endDraft();
    this.saveNote();
    this.flow.finish(how);
  }

  goBack(steps) {
    this.endDraft();
    this.saveNote();
    return this.flow.goBack(steps);
  }

  unreachable() {
    this.flow.outbox.lost();
    clearTimeout(this.refreshTimer);
    this.refreshTimer = setTimeout(() => this.flow.refresh(), AGAIN);
  }

  loadPixels() {
    const { state } = this;
    const { image } = state.sheet;
    const here = () => state.sheet?.image.id === image.id;
    this.pictures.get(Pictures.pixels(image)).then(
      ({ picture }) => {
        if (!here()) return;
        [state.pixels, state.trouble] = [picture, null];
        this.redraw();
      },
      (error) => {
        if (!here()) return;
        state.trouble = `The image has not come (${error.message}). It is asked for again …`;
        setTimeout(() => here() && this.loadPixels(), AGAIN);
        this.redraw();
      },
    );
  }

  /* Explanations. */

  path(image, method = this.state.method, index = this.state.classIndex, rhoIndex = this.state.rhoIndex) {
    return Pictures.explanation(image, method, index, this.about.rhos[rhoIndex]);
  }

  loadExplanation() {
    const { state } = this;
    state.methodName = this.about.labels[state.method];
    state.explanation = null;
    if (state.sheet && state.explained) {
      const path = this.path(state.sheet.image);
      const show = (found) => {
        if (!state.sheet || path !== this.path(state.sheet.image)) return;
        state.explanation = found;
        this.redraw();
      };
      this.pictures.get(path).then(show, (error) => show({ error: `cannot be shown: ${error.message}` }));
    }
    this.getAhead();
    this.redraw();
  }

  /* What will be wanted next, in this order: the explanation of this image, the next images, the other explanations. */
  getAhead() {
    const { state, about, flow } = this;
    const here = state.sheet ? [state.sheet.image] : [];
    const next = flow.queue.filter((image) => image.id !== here[0]?.id);
    const others = about.methods.filter((method) => method !== state.method);
    const index = (image) => (state.keepClass ? state.classIndex : likeliest(image));
    const paths = [
      ...here.map(Pictures.pixels), ...here.map((image) => this.path(image)), ...next.map(Pictures.pixels),
      ...next.slice(0, 1).map((image) => this.path(image, state.method, index(image))),
      ...here.flatMap((image) => others.map((method) => this.path(image, method))),
      ...(about.methods.includes("adversarial")
        ? here.flatMap((image) => about.rhos.map((_, rho) => this.path(image, "adversarial", state.classIndex, rho))) : []),
      ...next.slice(1).map((image) => this.path(image, state.method, index(image))),
    ];
    this.pictures.forget(new Set(paths));
    for (const path of paths) this.pictures.get(path, true).catch(() => {}); // asked for again when it is needed
  }

  toggleExplanation(on = !this.state.explained) {
    this.state.explained = on;
    if (on) find("explained").parentElement.scrollIntoView({ block: "nearest" }); // on a phone the panel shows a part
    this.loadExplanation();
    announce(on ? `${this.about.labels[this.state.method]} shown` : "explanation hidden");
  }

  chooseMethod(place) {
    const method = this.about.methods[place];
    if (!method) return;
    this.state.method = method;
    this.toggleExplanation(true);
  }

  chooseRho(index) {
    const { state, about } = this;
    state.rhoIndex = Math.min(Math.max(index, 0), about.rhos.length - 1);
    this.loadExplanation();
  }

  stepRho = (by) => this.chooseRho(this.state.rhoIndex + by);

  chooseBlend(blend) {
    this.state.blend[this.state.method] = Math.min(Math.max(blend, 0), 1);
    this.redraw();
  }

  stepBlend = (by) => this.chooseBlend(Math.round(10 * this.state.blend[this.state.method] + by) / 10);

  /* Classes and answers. */

  className = () => this.state.sheet.image.classes[this.state.classIndex].class;

  chooseClass(index) {
    this.endDraft();
    this.state.classIndex = index;
    this.loadExplanation();
  }

  listAll() {
    this.state.allClasses = !this.state.allClasses;
    this.redraw();
  }

  /** Through the classes as they are listed. */
  stepClass(by) {
    if (!this.state.sheet) return;
    const order = listed(this.state).map((c) => c.index);
    this.chooseClass(order.at((order.indexOf(this.state.classIndex) + by) % order.length));
    announce(`class ${this.className()}`);
  }

  answer(value) {
    const { state } = this;
    if (!state.sheet) return;
    const before = state.sheet.image.classes[state.classIndex].verdict;
    state.sheet.answer(state.classIndex, before === value ? null : value);
    announce(`${this.className()}: ${before === value ? "answer taken back" : value}`);
    this.redraw();
  }

  /* Regions. */

  chooseTool(tool, cycle = true) {
    const { state } = this;
    if (cycle && tool === "brush" && state.tool === "brush") {
      state.radius = RADII.find((radius) => radius > state.radius + 1e-9) ?? RADII[0];
    }
    state.tool = tool;
    announce(tool === "brush" ? `brush, ${Math.round(200 * state.radius)} % wide` : `${tool === "move" ? "hand" : tool}`);
    this.redraw();
  }

  chooseRadius(radius) {
    this.state.radius = radius;
    this.redraw();
  }

  chooseKind(kind) {
    this.state.kind = kind;
    if (this.state.draft) this.state.draft.kind = kind;
    announce(`regions are ${kind}`);
    this.redraw();
  }

  switchKind = () => this.chooseKind(this.state.kind === "relevant" ? "irrelevant" : "relevant");

  beginDraft(point) {
    const { state, about } = this;
    if (!state.sheet) return;
    const tool = state.tool === "move" ? "rectangle" : state.tool;
    state.draft = new Draft(tool, state.sheet.image, point, { limits: about.limits, radius: state.radius });
    Object.assign(state.draft, { kind: state.kind, class: this.className() });
    this.redraw();
  }

  moveDraft(point) {
    this.state.draft?.move(point);
    this.redraw();
  }

  /** Keep what is drawn. */
  endDraft() {
    const { state } = this;
    const { draft, sheet } = state;
    if (!draft) return;
    state.draft = null;
    const shape = draft.shape();
    if (shape && (shape.type === "brush" || draft.extent() * state.view.scale >= LEAST)) {
      sheet.addMark(draft.class, draft.kind, shape);
      announce(`${draft.kind} to ${draft.class}: ${inWords(shape)}`);
    } else announce("too small for a region: drag to draw one");
    this.redraw();
  }

  cancel() {
    this.state.draft = null;
    this.redraw();
  }

  moveCursor(dx, dy) {
    if (!this.state.sheet) return;
    const { x, y } = this.stage.moveCursor(dx, dy);
    this.moveDraft({ x, y });
    const { width, height } = this.state.sheet.image;
    clearTimeout(this.cursorTimer);
    this.cursorTimer = setTimeout(() => announce(`${Math.round((100 * x) / width)} % across, ` +
      `${Math.round((100 * y) / height)} % down`), 500);
  }

  drawAtCursor() {
    if (!this.state.sheet) return;
    const at = this.stage.moveCursor(0, 0);
    if (this.state.draft) {
      this.endDraft();
      return;
    }
    this.beginDraft(at);
    announce("region begun; move with the arrow keys, end it with space");
  }

  removeMark(mark) {
    this.state.sheet.removeMark(mark);
    announce("region removed");
    this.redraw();
  }

  undo = () => this.step("undo", "taken back");

  redo = () => this.step("redo", "done again");

  step(how, words) {
    const { state } = this;
    if (how === "undo" && state.draft) {
      this.cancel();
      return;
    }
    const step = state.sheet?.[how]();
    if (!step) return;
    const index = step.index ?? this.about.classes.indexOf(step.mark.class);
    if (index !== state.classIndex) this.chooseClass(index);
    announce(words);
    this.redraw();
  }

  /* View. */

  zoom = (factor) => this.stage.zoom(null, factor);

  pan = (dx, dy) => this.stage.pan(60 * dx, 60 * dy);

  /** Change window and level by so much; without numbers, the whole range again. */
  window(centre, width) {
    const { state } = this;
    state.levels = centre === undefined ? WHOLE : changed(state.levels, centre, width);
    this.redraw();
  }

  setLevels(levels) {
    this.state.levels = { ...this.state.levels, ...levels };
    this.redraw();
  }

  /* Notes and panels. */

  noteChanged(text) {
    this.noted = { sheet: this.state.sheet, text };
    clearTimeout(this.noteTimer);
    this.noteTimer = setTimeout(() => this.saveNote(), PAUSE);
  }

  saveNote() {
    clearTimeout(this.noteTimer);
    const { noted } = this;
    this.noted = null;
    if (noted && noted.sheet.image.note !== noted.text) noted.sheet.note(noted.text);
  }

  writeNote = () => find("note").focus();

  leaveNote = () => find("stage").focus({ preventScroll: true });

  openHelp = () => find("help").showModal();
}

const likeliest = (image) =>
  image.classes.reduce((best, c) => (c.probability > image.classes[best].probability ? c.index : best), 0);
