// The list of shapes: eye, lock, order, selection; and what is known about the one selected.

import { colourOf, ACCEPTED, HELD, KEY, PENDING, ROUGH } from "./shapes.js";

export class Panel {
  constructor(list, detail, desk) {
    this.list = list;
    this.detail = detail;
    this.desk = desk;
  }

  // Rows are made anew only when they change: news of predictions come all the time, and a row that is replaced between
  // press and release loses the click.
  draw() {
    const { shapes } = this.desk;
    const shown = JSON.stringify(shapes.list.map((shape) => (
      [shape.id, shape.name, shape.path, shape.shown, shape.locked, shape.reason, shapes.selected.has(shape.id)])));
    if (shown !== this.shown) this.drawRows();
    this.shown = shown;
    if (!this.detail.contains(document.activeElement)) this.drawDetail();
  }

  drawRows() {
    const { shapes } = this.desk;
    // The topmost shape first, as Nuke lists them; under their layers, where the file has several.
    const layers = new Map();
    for (const shape of [...shapes.list].reverse()) layers.set(layerOf(shape), [...(layers.get(layerOf(shape)) ?? []), shape]);
    const rows = [...layers].flatMap(([layer, members]) => [
      ...(layers.size > 1 ? [this.layerRow(layer, members)] : []), ...members.map((shape) => this.row(shape))]);
    this.list.replaceChildren(...rows);
  }

  // A layer's head: a click takes all its shapes in hand, eye and lock act on all of them.
  layerRow(layer, members) {
    const { desk } = this, ids = members.map((shape) => shape.id);
    const row = element("li", { class: "layer" });
    row.dataset.layer = layer;
    const [shown, locked] = [members.some((shape) => shape.shown), members.every((shape) => shape.locked)];
    row.append(element("span", { class: "name", title: layer }, layer.replace(/[:/]$/, "") || "drawn here"),
      toggle(shown ? "●" : "○", "Show or hide the layer", shown, () =>
        desk.send({ op: "set", shapes: ids, shown: !shown, label: shown ? "hide a layer" : "show a layer" })),
      toggle(locked ? "⊘" : "✎", "Lock or unlock the layer", locked, () =>
        desk.send({ op: "set", shapes: ids, locked: !locked, label: locked ? "unlock a layer" : "lock a layer" })));
    row.addEventListener("click", (event) => {
      if (event.target.closest("button")) return;
      desk.shapes.select(ids, { add: event.shiftKey || event.ctrlKey });
      desk.selectionChanged();
    });
    row.addEventListener("dragover", (event) => event.preventDefault());
    row.addEventListener("drop", (event) => {
      event.preventDefault();
      const dragged = Number(event.dataTransfer.getData("text/plain"));
      const shapes = desk.shapes.selected.has(dragged) ? [...desk.shapes.selected] : [dragged];
      desk.send({ op: "set", shapes, layer, label: "move to a layer" });
    });
    return row;
  }

  row(shape) {
    const { desk } = this, { shapes } = desk;
    const row = element("li", { class: classes({ selected: shapes.selected.has(shape.id), "hidden-shape": !shape.shown }) });
    row.dataset.shape = shape.id;
    row.draggable = true;  // onto a layer's head
    row.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", shape.id));
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = colourOf(shape);
    const name = element("span", { class: "name", title: shape.path }, shape.name);
    const eye = toggle(shape.shown ? "●" : "○", "Show or hide", shape.shown, () =>
      desk.send({ op: "set", shapes: [shape.id], shown: !shape.shown, label: shape.shown ? "hide" : "show" }));
    const lock = toggle(shape.locked || shape.reason ? "⊘" : "✎", shape.reason ?? "Lock or unlock", shape.locked, () =>
      desk.send({ op: "set", shapes: [shape.id], locked: !shape.locked, label: shape.locked ? "unlock" : "lock" }));
    const up = toggle("↑", "Draw above", false, () => this.reorder(shape.id, 1));
    const down = toggle("↓", "Draw below", false, () => this.reorder(shape.id, -1));
    row.append(swatch, name, up, down, eye, lock);
    row.addEventListener("click", (event) => {
      if (event.target.closest("button")) return;
      const add = event.shiftKey || event.ctrlKey;
      if (add && shapes.selected.has(shape.id)) shapes.selected.delete(shape.id);
      else shapes.select([shape.id], { add });
      desk.selectionChanged();
    });
    row.addEventListener("dblclick", () => {
      const fresh = prompt("Name of the shape", shape.name);
      if (fresh) desk.send({ op: "set", shapes: [shape.id], name: fresh, label: "rename" });
    });
    return row;
  }

  reorder(id, step) {
    const order = this.desk.shapes.list.map((shape) => shape.id);
    const at = order.indexOf(id), to = at + step;
    if (to < 0 || to >= order.length) return;
    [order[at], order[to]] = [order[to], order[at]];
    this.desk.send({ op: "order", shapes: order });
  }

  drawDetail() {
    const { desk } = this, { shapes } = desk;
    const chosen = shapes.inHand;
    if (chosen.length !== 1) {
      this.detail.replaceChildren(element("div", {}, chosen.length ? `${chosen.length} shapes selected` : "no shape selected"));
      return;
    }
    const [shape] = chosen;
    const rows = [element("div", { class: "row" }, `${shape.kind}${shape.closed ? "" : ", open"}, ${shape.points} points, `
      + `${shape.keys.length} keys, ${shape.accepted.length} accepted`)];
    if (shape.reason) rows.push(element("div", { class: "row warn" }, `read only: ${shape.reason}`));
    if (shape.failure) rows.push(element("div", { class: "row warn" }, `not predicted: ${shape.failure}`));
    if (shape.keys.length < 2) rows.push(element("div", { class: "row" }, "set a second key on another frame: what lies between is predicted"));
    else if (shape.suggested !== null) rows.push(element("div", { class: "row" }, `key next: ${shape.suggested} `
      + `(confidence ${shapes.confidence(shape.id, shape.suggested).toFixed(2)})`));
    const life = element("div", { class: "row" }, "lives from ");
    const ends = [shape.first, shape.last].map((end) => {
      const input = element("input", { type: "number", placeholder: "–", title: "empty: without end" });
      input.value = end ?? "";
      input.disabled = !shapes.editable(shape);
      return input;
    });
    const change = () => desk.send({ op: "set", shapes: [shape.id], label: "lifetime",
      life: ends.map((input) => (input.value === "" ? null : Math.round(Number(input.value)))) });
    for (const input of ends) input.addEventListener("change", () => { change(); input.blur(); });
    life.append(ends[0], " to ", ends[1]);
    rows.push(life);
    this.detail.replaceChildren(...rows);
  }
}

// What the artist reads over the picture about the frame.
export function said(shapes, other) {
  const lines = [`frame ${shapes.frame}`];
  if (other) lines.push(`B: ${other}`);
  for (const shape of shapes.inHand) {
    if (!shapes.courses.has(shape.id)) continue;
    const state = shapes.state(shape.id), confidence = shapes.confidence(shape.id).toFixed(2);
    const words = !shapes.alive(shape) ? "not alive here"
      : state === KEY ? "your key" : state === ACCEPTED ? "accepted"
      : state === HELD ? "held from the nearest key" : state === PENDING ? "being predicted"
      : state === ROUGH ? `predicted roughly, ${confidence} sure` : `predicted, ${confidence} sure`;
    lines.push(`${shape.name}: ${words}`);
  }
  return lines.slice(0, 6).join("\n");
}

export function element(name, attributes = {}, text = null) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

// Node and layers of a shape: what its path says before its own name, with the sign between.
const layerOf = (shape) => shape.path.slice(0, Math.max(shape.path.lastIndexOf("/"), shape.path.lastIndexOf(":")) + 1);

const classes = (which) => Object.keys(which).filter((name) => which[name]).join(" ");

function toggle(sign, title, on, act) {
  const button = element("button", { title, class: on ? "on" : "" }, sign);
  button.addEventListener("click", act);
  return button;
}
