/* Window and level: which grey values of the image are shown from black to white. */

export const WHOLE = Object.freeze({ centre: 127.5, width: 255 });

const bounded = (value, low, high) => Math.min(Math.max(value, low), high);

/** The window changed by so much; positive `width` is less contrast, positive `centre` is darker. */
export const changed = (levels, centre, width) => ({
  centre: bounded(levels.centre + centre, 0, 255),
  width: bounded(levels.width + width, 4, 510),
});

export const isWhole = (levels) => levels.centre === WHOLE.centre && levels.width === WHOLE.width;

/** What becomes of each of the 256 grey values. */
export function table(levels) {
  const values = new Uint8ClampedArray(256); // rounds and clips
  for (let i = 0; i < 256; i++) values[i] = ((i - levels.centre) / levels.width + 0.5) * 255;
  return values;
}

/** A picture as it is with a window: the picture itself with the whole one, otherwise a canvas. */
export function windowed(picture, levels) {
  if (isWhole(levels)) return picture;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const values = table(levels);
  for (let i = 0; i < pixels.data.length; i += 4) {
    pixels.data[i] = values[pixels.data[i]];
    pixels.data[i + 1] = values[pixels.data[i + 1]];
    pixels.data[i + 2] = values[pixels.data[i + 2]];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
