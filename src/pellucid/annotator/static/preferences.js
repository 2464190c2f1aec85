/* What a person chose and will want again: kept in the browser. */

const KEY = "pellucid.preferences";

export function recall(defaults) {
  try {
    const kept = JSON.parse(window.localStorage.getItem(KEY)) ?? {};
    const same = ([key, value]) => key in defaults && typeof value === typeof defaults[key];
    return { ...defaults, ...Object.fromEntries(Object.entries(kept).filter(same)) };
  } catch {
    return { ...defaults };
  }
}

export function keep(state, names) {
  try {
    window.localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(names.map((name) => [name, state[name]]))));
  } catch {
    // a browser that keeps nothing forgets this, too
  }
}
