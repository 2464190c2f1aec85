/* Making and finding elements. Texts become text, never markup. */

export const find = (id) => document.getElementById(id);

/** An element with properties (class, text, or attributes) and children. */
export function make(tag, { class: name = "", text = null, on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== null) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(key, value);
  for (const [event, action] of Object.entries(on)) element.addEventListener(event, action);
  element.append(...children);
  return element;
}

/** Keep the keyboard's place in a list that is made anew: the element with the same data-key gets the focus. */
export function refill(parent, children) {
  const held = parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const scrolled = parent.scrollTop;
  parent.replaceChildren(...children);
  parent.scrollTop = scrolled;
  if (held) parent.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}

/** A probability in words, never rounded to certainty. */
export function percent(chance) {
  if (chance < 0.001) return "< 0.1 %";
  if (chance > 0.999) return "> 99.9 %";
  return `${(100 * chance).toFixed(chance < 0.1 ? 1 : 0)} %`;
}

/** Words for a person and a screen reader, for a while. */
export function announce(text) {
  find("announcement").textContent = text;
}
