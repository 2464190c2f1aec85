/* Where an image lies on the stage, and shapes in fractions of the image. Nothing here touches the page.
 *
 * A view {scale, x, y} takes a point of the image, in its own pixels, to CSS pixels of the stage: x + scale * point. */

const NEAREST = 32; // CSS pixels for one of the image at the largest zoom
const LARGEST = 8; // times the whole image at least

/** The view that shows the whole image in the middle of the stage; both have a width and a height. */
export function fit(image, stage) {
  const scale = Math.min(stage.width / image.width, stage.height / image.height);
  return centred({ scale, x: 0, y: 0 }, image, stage);
}

export const toStage = (view, point) => ({ x: view.x + view.scale * point.x, y: view.y + view.scale * point.y });

export const toImage = (view, point) => ({ x: (point.x - view.x) / view.scale, y: (point.y - view.y) / view.scale });

/** The view after zooming by a factor; the point of the stage stays where it is, unless the image would leave. */
export function zoomed(view, point, factor, image, stage) {
  const least = fit(image, stage).scale;
  const scale = Math.min(Math.max(view.scale * factor, least), Math.max(NEAREST, LARGEST * least));
  const held = toImage(view, point);
  return centred({ scale, x: point.x - scale * held.x, y: point.y - scale * held.y }, image, stage);
}

export const panned = (view, dx, dy, image, stage) =>
  centred({ scale: view.scale, x: view.x + dx, y: view.y + dy }, image, stage);

/** The view moved so that a point of the image is seen, a margin away from the stage's border where it can be. */
export function following(view, point, image, stage) {
  const seen = toStage(view, point);
  const margin = 0.1 * Math.min(stage.width, stage.height);
  const back = (value, size) => Math.max(margin - value, 0) - Math.max(value - (size - margin), 0);
  return panned(view, back(seen.x, stage.width), back(seen.y, stage.height), image, stage);
}

/** No gap between image and border: an image smaller than the stage is in its middle, a larger one fills it. */
function centred(view, image, stage) {
  const place = (at, length, room) => (length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, at)));
  return {
    scale: view.scale,
    x: place(view.x, view.scale * image.width, stage.width),
    y: place(view.y, view.scale * image.height, stage.height),
  };
}

/** A point of the image, in its pixels, brought onto the image. */
export const onImage = (point, image) => ({
  x: Math.min(Math.max(point.x, 0), image.width),
  y: Math.min(Math.max(point.y, 0), image.height),
});

const fraction = (value, length) => Math.round((value / length) * 1e7) / 1e7; // of 2048 pixels, the 5000th part of one

/** The rectangle between two points of the image, or null where it has no area. */
export function rectangle(from, to, image) {
  const [a, b] = [onImage(from, image), onImage(to, image)];
  const [left, top] = [fraction(Math.min(a.x, b.x), image.width), fraction(Math.min(a.y, b.y), image.height)];
  const [right, bottom] = [fraction(Math.max(a.x, b.x), image.width), fraction(Math.max(a.y, b.y), image.height)];
  if (right <= left || bottom <= top) return null;
  return { type: "rectangle", x: left, y: top, width: right - left, height: bottom - top };
}

/** The outline through points of the image, or null where it has no area. */
export function polygon(points, image, most) {
  const kept = thinned(points.map((p) => onImage(p, image)), most);
  return kept.length >= 3 && area(kept) > 0.25 ? { type: "polygon", points: fractions(kept, image) } : null;
}

/** The stroke of a brush along points of the image; its radius is a fraction of the image's width. */
export const brush = (points, radius, image, most) => ({
  type: "brush",
  points: fractions(thinned(points.map((p) => onImage(p, image)), most), image),
  radius,
});

const fractions = (points, image) => points.map((p) => [fraction(p.x, image.width), fraction(p.y, image.height)]);

/** The area inside an outline in square pixels, without sign. */
export function area(points) {
  let twice = 0;
  points.forEach((p, i) => {
    const next = points[(i + 1) % points.length];
    twice += p.x * next.y - next.x * p.y;
  });
  return Math.abs(twice) / 2;
}

/** Fewer points, none of those left out further than a fifth of a pixel from the line (more, where `most` needs it). */
export function thinned(points, most = Infinity) {
  let kept = simplified(points, 0.2);
  for (let tolerance = 0.2; kept.length > most; tolerance *= 2) kept = simplified(kept, tolerance);
  return kept;
}

/* Ramer, Douglas and Peucker, without recursion. */
function simplified(points, tolerance) {
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const parts = [[0, points.length - 1]];
  while (parts.length) {
    const [first, last] = parts.pop();
    let [furthest, distance] = [-1, tolerance];
    for (let i = first + 1; i < last; i++) {
      const found = toSegment(points[i], points[first], points[last]);
      if (found > distance) [furthest, distance] = [i, found];
    }
    if (furthest < 0) continue;
    keep[furthest] = 1;
    parts.push([first, furthest], [furthest, last]);
  }
  return points.filter((_, i) => keep[i]);
}

/** The distance of a point from the line between two others. */
export function toSegment(point, from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  const along = length ? Math.min(Math.max(((point.x - from.x) * dx + (point.y - from.y) * dy) / length, 0), 1) : 0;
  return Math.hypot(point.x - from.x - along * dx, point.y - from.y - along * dy);
}
