/* The stage: where the image lies on it, what pointer and cursor do there, and what is drawn. */

import { find } from "./dom.js";
import { fit, following, onImage, panned, toImage, toStage, zoomed } from "./geometry.js";

const STEP = 24; // CSS pixels that an arrow key moves the cursor

export class Stage {
  constructor(state, about, scene, redraw) {
    Object.assign(this, { state, about, scene, redraw });
    this.hovered = null; // a point of the image under the mouse
    this.keyboard = false; // the cursor is moved by keys
  }

  get image() {
    return this.state.sheet.image;
  }

  /** A new image: all of it. */
  reset() {
    this.state.view = this.state.sheet ? fit(this.image, this.scene.size()) : null;
    this.state.cursor = null;
    this.keyboard = false;
  }

  resized() {
    const { state } = this;
    if (state.view) {
      const size = this.scene.size();
      const whole = state.view.scale <= this.whole;
      state.view = whole ? fit(this.image, size) : zoomed(state.view, { x: 0, y: 0 }, 1, this.image, size);
    }
    this.redraw();
  }

  zoom(point, factor) {
    const { state } = this;
    if (!state.view) return;
    const size = this.scene.size();
    const at = point ?? (this.keyboard && state.cursor ? toStage(state.view, state.cursor) : middle(size));
    state.view = factor ? zoomed(state.view, at, factor, this.image, size) : fit(this.image, size);
    this.redraw();
  }

  pan(dx, dy) {
    if (!this.state.view) return;
    this.state.view = panned(this.state.view, dx, dy, this.image, this.scene.size());
    this.redraw();
  }

  /** The keyboard's cursor, so many steps on; gives where it is. */
  moveCursor(dx, dy) {
    const { state } = this;
    const from = state.cursor ?? toImage(state.view, middle(this.scene.size()));
    const step = STEP / state.view.scale;
    this.keyboard = true;
    state.cursor = onImage({ x: from.x + dx * step, y: from.y + dy * step }, this.image);
    state.view = following(state.view, state.cursor, this.image, this.scene.size());
    this.redraw();
    return state.cursor;
  }

  /** What the pointer does, for `pointer.listen`. */
  pointer(actions) {
    const { state } = this;
    const place = (point) => toImage(state.view, point);
    return {
      tool: () => state.tool,
      begin: (point) => {
        this.keyboard = false;
        if (state.view) actions.beginDraft(place(point));
      },
      move: (point) => state.draft && actions.moveDraft(place(point)),
      end: () => actions.endDraft(),
      cancel: () => actions.cancel(),
      pan: (dx, dy) => this.pan(dx, dy),
      zoom: (point, factor) => this.zoom(point, factor),
      window: (dx, dy) => actions.window(dy, dx),
      hover: (point) => {
        this.hovered = point && state.view ? place(point) : null;
        if (point) this.keyboard = false;
        if (state.tool === "brush") this.redraw();
      },
    };
  }

  draw(rest) {
    const { state } = this;
    const canvas = find("stage");
    const size = this.scene.size();
    this.tell(rest);
    if (!state.sheet) {
      delete canvas.dataset.view;
      this.scene.draw({});
      return;
    }
    this.whole = fit(this.image, size).scale;
    const name = this.image.classes[state.classIndex].class;
    const { draft } = state;
    const found = state.explained && state.explanation?.picture ? state.explanation : null;
    this.scene.draw({
      view: state.view, image: this.image, pixels: state.pixels, levels: state.levels,
      explanation: found && { picture: found.picture, heat: state.method !== "adversarial", blend: state.blend[state.method] },
      marks: state.sheet.marksOf(name), draft: draft && { shape: draft.shape(), kind: draft.kind }, cursor: this.cursor(),
    });
    canvas.dataset.tool = state.tool;
    const seen = state.view.scale <= this.whole ? this.image : size; // what is printed, which has a shape of its own
    canvas.style.setProperty("--ratio", String(seen.width / seen.height));
    canvas.dataset.view = [state.view.scale, state.view.x, state.view.y].join(" ");
    canvas.setAttribute("aria-label", `Image of ${this.image.width} by ${this.image.height} pixels, class ${name}, ` +
      `regions: ${state.sheet.marksOf(name).length}`);
  }

  cursor() {
    const { state } = this;
    const at = this.keyboard ? state.cursor : this.hovered;
    if (!at || (!this.keyboard && state.tool !== "brush")) return null;
    return { ...at, radius: state.tool === "brush" ? state.radius * this.image.width : 0 };
  }

  /** Words on the stage: what is missing, what is shown, how large; `rest` is what is left to annotate, as Flow has it. */
  tell(rest) {
    const { state } = this;
    const say = (id, text) => {
      find(id).hidden = !text;
      if (find(id).textContent !== text) find(id).textContent = text;
    };
    const nothing = { done: "All done. Nothing is left to annotate; thank you.", away: "Other people have the remaining " +
      "images open. Any that they leave come back here after a few minutes.", open: "Waiting for the next image …" }[rest];
    say("stage-told", !state.sheet ? nothing : (state.trouble ?? ""));
    const name = state.sheet?.image.classes[state.classIndex].class;
    say("stage-explained", state.sheet && state.explained ? `${state.methodName}: ${name}` : "");
    const zoom = state.view && this.whole ? state.view.scale / this.whole : 1;
    say("stage-zoom", zoom > 1.001 ? `${zoom.toFixed(1)} ×` : "");
  }
}

const middle = ({ width, height }) => ({ x: width / 2, y: height / 2 });
