/** Makes elements. Whatever comes from outside is put in as text: nothing here reads markup. */

/**
 * Makes an element.
 * An attribute whose name begins with "on" is a listener; true stands for an empty value, and
 * false, null and undefined leave the attribute out. Children are nodes, texts and lists of them.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

/** Puts children at the end of an element. */
export function add(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts children in the place of those that are there. */
export function fill(element, ...children) {
  element.shown = null;
  element.replaceChildren();
  add(element, children);
}

/**
 * Fills an element only if what it shows is not what it showed before, so that focus and selection
 * stay; where it is made anew, focus goes to what has the same `data-focus` in it.
 */
export function renew(element, shown, make) {
  const text = JSON.stringify(shown);
  if (element.shown === text) return;
  const focused = element.contains(document.activeElement) && document.activeElement.dataset.focus;
  fill(element, make());
  element.shown = text;
  if (focused) element.querySelector(`[data-focus="${focused}"]`)?.focus();
}

/** Sets a text only if it is another one, so that nobody's selection is lost. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Shows items as children of an element, in their order. A child stays the same element as long as
 * what it shows is the same, so focus and selection outlive the news of others; where it is made
 * anew, focus goes to what has the same `data-focus` in it.
 */
export function keyed(parent, items, keyOf, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = String(keyOf(item));
    const shown = JSON.stringify(item);
    const child = known.get(key);
    if (child && child.shown === shown) return child;
    const made = make(item);
    made.dataset.key = key;
    made.shown = shown;
    const focused = child?.contains(document.activeElement) && document.activeElement.dataset.focus;
    if (child) child.replaceWith(made);
    if (focused) made.querySelector(`[data-focus="${focused}"]`)?.focus();
    return made;
  });
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  wanted.forEach((child, at) => {
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
  });
}

const SVG = "http://www.w3.org/2000/svg";

/** Draws an icon of one path in a square of 16. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
