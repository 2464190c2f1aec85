/* Pictures from the server: what is looked at now first, what comes next while there is time. */

import { askPicture } from "./api.js";

const AT_ONCE = 3; // of the six connections that a browser makes: strokes must get through while explanations are made
const MOST = 40e6; // pixels kept

export class Pictures {
  constructor() {
    this.kept = new Map(); // path → promise, the latest used last
    this.sizes = new Map(); // path → pixels of those that came
    this.waiting = [];
    this.busy = 0;
  }

  static pixels = (image) => `/api/images/${image.id}/pixels.png`;

  static explanation(image, method, index, rho) {
    const query = method === "adversarial" ? `?rho=${rho}` : "";
    return `/api/images/${image.id}/explanations/${method}/${index}${query}`;
  }

  /** A promise of a picture. What is wanted now goes before what is got ahead.
   * @throws Unreachable or Refused; asked again later, it is tried again */
  get(path, ahead = false) {
    const kept = this.kept.get(path);
    if (kept) {
      this.kept.delete(path);
      this.kept.set(path, kept);
      if (!ahead) this.hurry(path);
      return kept;
    }
    const promise = new Promise((resolve, reject) => {
      const request = { path, resolve, reject };
      if (ahead) this.waiting.push(request);
      else this.waiting.unshift(request);
    });
    this.kept.set(path, promise);
    promise.catch(() => this.kept.delete(path));
    this.next();
    return promise;
  }

  /** Leave out what was to be got ahead and is not needed any more. */
  forget(needed) {
    for (const { path } of this.waiting.filter((request) => !needed.has(request.path))) this.kept.delete(path);
    this.waiting = this.waiting.filter(({ path }) => needed.has(path));
  }

  hurry(path) {
    const place = this.waiting.findIndex((request) => request.path === path);
    if (place > 0) this.waiting.unshift(...this.waiting.splice(place, 1));
  }

  next() {
    while (this.busy < AT_ONCE && this.waiting.length) {
      const { path, resolve, reject } = this.waiting.shift();
      this.busy++;
      askPicture(path)
        .then((found) => {
          this.sizes.set(path, found.picture.width * found.picture.height);
          resolve(found);
          this.makeRoom();
        }, reject)
        .finally(() => {
          this.busy--;
          this.next();
        });
    }
  }

  makeRoom() {
    let held = [...this.sizes.values()].reduce((a, b) => a + b, 0);
    for (const path of [...this.kept.keys()].slice(0, -8)) {
      if (held <= MOST) return;
      held -= this.sizes.get(path) ?? 0;
      if (this.sizes.delete(path)) this.kept.delete(path);
    }
  }
}
