/* What is seen on the stage: the image, an explanation over it, the marks, and what is drawn just now. */

import { toStage } from "./geometry.js";
import { inColour } from "./heat.js";
import { windowed } from "./levels.js";

/* Blue and orange of Okabe and Ito, which colour-blind people tell apart; besides, irrelevant is dashed and hatched. */
const COLOURS = { relevant: "#56b4e9", irrelevant: "#f5a623" };
const CASING = "rgba(0, 0, 0, 0.75)"; // around every line, so that it shows on white and on heat
const DASHES = [7, 5];

export class Scene {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.scratch = document.createElement("canvas").getContext("2d");
    this.remembered = new Map(); // layers that took work: name → {from, settings, canvas}
    this.hatching = hatching(this.context);
  }

  /** Width and height of the stage in CSS pixels. */
  size() {
    const { width, height } = this.canvas.getBoundingClientRect();
    return { width, height };
  }

  /** @param shown {view, image, pixels, explanation: {picture, heat, blend} | null, levels, marks, draft, cursor} */
  draw(shown) {
    const { width, height } = this.size();
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== across || this.canvas.height !== down) {
      [this.canvas.width, this.canvas.height] = [across, down];
    }
    this.exact = [across / width, down / height]; // pixels of the screen for one of CSS
    const context = this.context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, across, down);
    context.setTransform(this.exact[0], 0, 0, this.exact[1], 0, 0);
    if (!shown.pixels) return;
    this.layer(this.made("pixels", shown.pixels, shown.levels, windowed), shown, 1);
    const { explanation } = shown;
    const { frame } = shown.image;
    if (explanation?.heat) this.layer(this.made("heat", explanation.picture, explanation.blend, inColour), shown, 1, frame);
    else if (explanation) {
      this.layer(this.made("moved", explanation.picture, shown.levels, windowed), shown, explanation.blend, frame);
    }
    if (explanation) this.border(frame, shown);
    for (const mark of shown.marks) this.shape(mark.shape, mark.kind, shown);
    if (shown.draft) this.shape(shown.draft.shape, shown.draft.kind, shown);
    if (shown.cursor) this.cross(toStage(shown.view, shown.cursor), shown.cursor.radius * shown.view.scale);
  }

  /** A layer made of a picture, kept until picture or settings change. */
  made(name, from, settings, how) {
    const kept = this.remembered.get(name);
    if (kept && kept.from === from && kept.settings === settings) return kept.canvas;
    const canvas = how(from, settings);
    this.remembered.set(name, { from, settings, canvas });
    return canvas;
  }

  /** A picture over the image, or over its part `frame` (x, y, width, height as fractions of it), whatever its own
   * size. What lies beside the image, as padding does, is not drawn. */
  layer(picture, { view, image }, opacity, frame = [0, 0, 1, 1]) {
    const context = this.context;
    const [width, height] = [view.scale * image.width, view.scale * image.height];
    context.save();
    context.beginPath();
    context.rect(view.x, view.y, width, height);
    context.clip();
    context.globalAlpha = opacity;
    context.imageSmoothingQuality = "high";
    const [x, y, across, down] = frame;
    context.drawImage(picture, view.x + x * width, view.y + y * height, across * width, down * height);
    context.restore();
  }

  /** A line around what the network sees of the image, where that is not all of it. */
  border([x, y, across, down], { view, image }) {
    if (x <= 0 && y <= 0 && x + across >= 1 && y + down >= 1) return;
    const [left, top] = [Math.max(x, 0), Math.max(y, 0)];
    const from = toStage(view, { x: left * image.width, y: top * image.height });
    const width = (Math.min(x + across, 1) - left) * image.width * view.scale;
    const height = (Math.min(y + down, 1) - top) * image.height * view.scale;
    const path = new Path2D();
    path.rect(from.x, from.y, width, height);
    this.line(this.context, path, CASING, 3, []);
    this.line(this.context, path, "#fff", 1, [2, 6]);
  }

  shape(shape, kind, { view, image }) {
    if (!shape) return;
    const colour = COLOURS[kind];
    const at = ([x, y]) => toStage(view, { x: x * image.width, y: y * image.height });
    if (shape.type === "brush") {
      this.stroke(shape.points.map(at), shape.radius * image.width * view.scale, kind, colour);
      return;
    }
    const path = new Path2D();
    if (shape.type === "rectangle") {
      const [from, to] = [at([shape.x, shape.y]), at([shape.x + shape.width, shape.y + shape.height])];
      path.rect(from.x, from.y, to.x - from.x, to.y - from.y);
    } else {
      shape.points.map(at).forEach((p, i) => (i ? path.lineTo(p.x, p.y) : path.moveTo(p.x, p.y)));
      path.closePath();
    }
    const context = this.context;
    context.fillStyle = kind === "irrelevant" ? this.hatching : `${colour}26`;
    context.fill(path, "evenodd");
    context.lineJoin = "round";
    this.line(context, path, CASING, 4.5, []);
    this.line(context, path, colour, 2, kind === "irrelevant" ? DASHES : []);
  }

  /* A brush stroke: filled, with an outline, which is what a wide line has more than a narrower one. */
  stroke(points, radius, kind, colour) {
    const path = new Path2D();
    points.forEach((p, i) => (i ? path.lineTo(p.x, p.y) : path.moveTo(p.x, p.y)));
    if (points.length === 1) path.lineTo(points[0].x + 1e-3, points[0].y);
    const scratch = this.scratch;
    [scratch.canvas.width, scratch.canvas.height] = [this.canvas.width, this.canvas.height]; // clears it, too
    scratch.setTransform(this.exact[0], 0, 0, this.exact[1], 0, 0);
    scratch.lineCap = scratch.lineJoin = "round";
    this.line(scratch, path, CASING, 2 * radius + 3, []);
    this.line(scratch, path, colour, 2 * radius, []);
    scratch.globalCompositeOperation = "destination-out";
    this.line(scratch, path, "#000", Math.max(2 * radius - 4, 0.5), []);
    scratch.globalCompositeOperation = "source-over";
    this.line(scratch, path, kind === "irrelevant" ? this.hatching : `${colour}40`, Math.max(2 * radius - 4, 0.5), []);
    if (kind === "irrelevant") this.line(scratch, path, colour, 2, DASHES);
    this.context.save();
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.drawImage(scratch.canvas, 0, 0);
    this.context.restore();
  }

  line(context, path, style, width, dashes) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.setLineDash(dashes);
    context.stroke(path);
  }

  cross({ x, y }, radius) {
    const path = new Path2D();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      path.moveTo(x + 4 * dx, y + 4 * dy);
      path.lineTo(x + 16 * dx, y + 16 * dy);
    }
    if (radius > 0) {
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 2 * Math.PI);
    }
    this.line(this.context, path, CASING, 4, []);
    this.line(this.context, path, "#fff", 1.5, []);
  }
}

/* Diagonal lines, which fill what is irrelevant. */
function hatching(context) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 10;
  const lines = tile.getContext("2d");
  lines.strokeStyle = `${COLOURS.irrelevant}a0`;
  lines.lineWidth = 1.5;
  for (const start of [-10, 0, 10]) {
    lines.moveTo(start - 1, 11);
    lines.lineTo(start + 11, -1);
  }
  lines.stroke();
  return context.createPattern(tile, "repeat");
}
