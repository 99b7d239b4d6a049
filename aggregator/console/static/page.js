// Building the page: text is only ever set as text, so nothing that a studio or a file says can become markup.

export const byId = (id) => document.getElementById(id);

export function make(tag, options = {}, ...children) {
  const { className = "", title = "", ...attributes } = options;
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (title) made.title = title;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null).map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

// Replaces what an element holds, but only when it would differ: a selection or a scroll position survives.
export function fill(element, ...children) {
  const next = element.cloneNode(false);
  next.append(...children);
  if (next.innerHTML !== element.innerHTML) element.replaceChildren(...next.childNodes);
}

export function table(element, headings, rows) {
  if (!rows.length) return fill(element);
  const head = make("thead", {}, make("tr", {}, ...headings));
  return fill(element, head, make("tbody", {}, ...rows));
}

export const heading = (text, className = "") => make("th", { className, scope: "col" }, text);

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour12: false });
}

export function ago(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

export function bytes(count) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
  }
  return `${count} B`;
}
