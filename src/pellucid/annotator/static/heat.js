/* Heat maps in colour: grey values from the server as colours that lie over the image. */

/* Inferno of Matplotlib (van der Walt and Smith, CC0) at eleven places; lightness rises evenly, so it needs no hue. */
const INFERNO = [
  [0, 0, 4], [22, 11, 57], [66, 10, 104], [106, 23, 110], [147, 38, 103], [188, 55, 84],
  [221, 81, 58], [243, 120, 25], [252, 165, 10], [246, 215, 70], [252, 255, 164],
];

/** The colour of a value from 0 to 1. */
export function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[low].map((from, i) => Math.round(from + (place - low) * (INFERNO[low + 1][i] - from)));
}

/** How much of the image a value covers: with blend 1 all of it, below that high values more than low ones. */
export const cover = (value, blend) => (blend <= 0 ? 0 : blend ** (2 - 1.5 * value));

/** A grey heat map as a canvas in colour. */
export function inColour(picture, blend) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const colours = Array.from({ length: 256 }, (_, i) => [...colour(i / 255), Math.round(255 * cover(i / 255, blend))]);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set(colours[pixels.data[i]], i);
  context.putImageData(pixels, 0, 0);
  return canvas;
}
