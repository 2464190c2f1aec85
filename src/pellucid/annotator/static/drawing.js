/* A region while it is drawn, with pointer or keyboard: begun, led on, and ended as a shape. */

import { brush, onImage, polygon, rectangle } from "./geometry.js";

export const TOOLS = { rectangle: "rectangle", polygon: "outline", brush: "brush stroke" };

/** What is drawn just now on one image. Points are in pixels of the image. */
export class Draft {
  /** @param limits {points, radius} of the server; @param radius of the brush, a fraction of the image's width. */
  constructor(tool, image, point, { limits, radius }) {
    this.tool = tool;
    this.image = image;
    this.radius = radius;
    this.points = [onImage(point, image)];
    this.since = performance.now();
    this.most = limits.points;
  }

  /** Lead the line on. */
  move(point) {
    const last = this.points.at(-1);
    const next = onImage(point, this.image);
    if (this.tool === "rectangle") this.points[1] = next;
    else if (next.x !== last.x || next.y !== last.y) this.points.push(next);
  }

  /** The shape so far, or null where there is none yet. */
  shape() {
    if (this.tool === "rectangle") return rectangle(this.points[0], this.points.at(-1), this.image);
    if (this.tool === "polygon") return polygon(this.points, this.image, this.most);
    return brush(this.points, this.radius, this.image, this.most);
  }

  /** Its largest extent in pixels of the image. */
  extent() {
    const [x, y] = [this.points.map((p) => p.x), this.points.map((p) => p.y)];
    const range = (values) => values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b));
    return Math.max(range(x), range(y));
  }
}

/** A shape in words: what it is, and where its middle or its beginning is. */
export function inWords(shape) {
  const percent = (value) => Math.round(100 * value);
  const [x, y] = shape.type === "rectangle" ? [shape.x + shape.width / 2, shape.y + shape.height / 2] : shape.points[0];
  return `${TOOLS[shape.type]} at ${percent(x)} / ${percent(y)} %`;
}
