// Shortcuts, as Nuke artists have them in their hands; the table is also the help page.

import { element } from "./panel.js";

export const SHORTCUTS = [
  ["Time", [
    ["Left / Right", "frame back, forward", { ArrowLeft: "back", ArrowRight: "forward" }],
    ["Shift+Left / Right", "ten frames", { "Shift+ArrowLeft": "back-ten", "Shift+ArrowRight": "forward-ten" }],
    ["Ctrl+Left / Right", "key before, next key", { "Ctrl+ArrowLeft": "key-before", "Ctrl+ArrowRight": "key-after" }],
    ["Home / End", "first, last frame", { Home: "first", End: "last" }],
    ["J / K / L", "play backwards, stop, play", { j: "play-back", k: "stop", l: "play" }],
    ["Space", "play or stop", { " ": "toggle-play" }],
    ["W / Shift+W", "worst frame, the next worst", { w: "worst", "Shift+W": "next-worst" }],
    ["N", "suggested next key", { n: "suggested" }],
  ]],
  ["View", [
    ["Wheel, + / -", "zoom", { "+": "zoom-in", "=": "zoom-in", "-": "zoom-out" }],
    ["Middle or Alt+drag", "pan (Alt on empty picture)", {}],
    ["F / Shift+F", "fit the plate, fit the selection", { f: "fit", "Shift+F": "fit-selection" }],
    ["O", "hide or show shapes", { o: "overlay" }],
    ["M", "matte views in turn", { m: "matte" }],
    ["Shift+O", "onion skin", { "Shift+O": "onion" }],
    [", / .", "viewer exposure down, up", { ",": "darker", ".": "brighter" }],
    ["1 / 2 / 3 / 4 / 5", "model alone, beside smooth, tracking, planar, flow", { 1: "model", 2: "smooth", 3: "track", 4: "planar", 5: "flow" }],
    ["C", "A/B: the other method in the model's place, and back", { c: "swap" }],
  ]],
  ["Shapes", [
    ["Q", "select", { q: "select" }],
    ["V / B", "draw a Bezier, a B-spline", { v: "bezier", b: "bspline" }],
    ["Enter / Esc", "close the shape being drawn, give it up", { Enter: "finish", Escape: "escape" }],
    ["T", "transform box: move, scale, rotate (Shift: keep proportions)", { t: "transform" }],
    ["Drag", "model-assisted: points that you have not placed follow", {}],
    ["Alt+drag", "exactly this point, tangent or selection", {}],
    ["Ctrl+drag outline", "move the whole shape", {}],
    ["Shift+click, marquee", "select several points or shapes", {}],
    ["Ctrl+A", "select all points", { "Ctrl+a": "select-all" }],
    ["Ctrl+Alt+click outline", "add a point, at every key", {}],
    ["Z / Shift+Z", "selected points smooth, sharp", { z: "smooth-points", "Shift+Z": "sharp-points" }],
    ["E / Shift+E", "feather outwards, take feather away: selected points, or the shape", { e: "feather", "Shift+E": "unfeather" }],
    ["H", "hide here, or on the marked range; show again", { h: "see" }],
    ["G", "put the selected shapes into a layer", { g: "layer" }],
    ["Delete", "delete the selected points, or the shapes", { Delete: "delete", Backspace: "delete" }],
  ]],
  ["Keys and predictions", [
    ["S", "set a key here", { s: "key" }],
    ["X", "delete the key here", { x: "unkey" }],
    ["Ctrl+drag a diamond", "move a key in time", {}],
    ["A", "accept this frame", { a: "accept" }],
    ["Shift+A", "accept the marked range, or all between the keys around", { "Shift+A": "accept-range" }],
    ["Ctrl+Shift+A", "accept the whole shape", { "Ctrl+Shift+A": "accept-shape" }],
    ["U", "take acceptance back", { u: "unaccept" }],
    ["Shift+drag the timeline", "mark a range", {}],
    ["Ctrl+Z / Ctrl+Shift+Z, Ctrl+Y", "undo, redo", { "Ctrl+z": "undo", "Ctrl+Shift+Z": "redo", "Ctrl+y": "redo" }],
    ["?", "this page", { "?": "help", "Shift+?": "help" }],
  ]],
];

const ACTIONS = new Map(SHORTCUTS.flatMap(([, rows]) => rows.flatMap(([, , keys]) => Object.entries(keys))));

export function listen(act) {
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=number], select, dialog *") && event.key !== "Escape") return;
    const signs = [];
    if (event.ctrlKey || event.metaKey) signs.push("Ctrl");
    const named = event.key.length > 1;
    if (event.shiftKey && (named || /[a-z?]/i.test(event.key))) signs.push("Shift");
    const key = signs.includes("Shift") ? event.key.toUpperCase().replace("ARROW", "Arrow") : event.key;
    const name = [...signs, named ? event.key : key].join("+");
    const action = ACTIONS.get(name);
    if (!action) return;
    event.preventDefault();
    act(action, event);
  });
}

export function helpPage(dialog) {
  const columns = element("div", { class: "columns" });
  for (const [title, rows] of SHORTCUTS) {
    const list = element("dl");
    for (const [keys, meaning] of rows) list.append(element("dt", {}, keys), element("dd", {}, meaning));
    columns.append(element("h3", {}, title), list);
  }
  const close = element("button", {}, "Close");
  close.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(columns, close);
}
