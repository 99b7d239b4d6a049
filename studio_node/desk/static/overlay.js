// Shapes over the plate in SVG: outlines, handles, ghosts of other methods, onion skin, matte views.

import { colourOf, ACCEPTED, KEY, PENDING } from "./shapes.js";
import { boundsOf, pathOf } from "./curves.js";

const SVG = "http://www.w3.org/2000/svg";
const ONION = [-8, -4, 4, 8];
const BACKGROUNDS = { matte: "#000", black: "#000", white: "#fff", grey: "#808080", green: "#00c000" };
const POINT = 4.5, TANGENT = 3.5, REACH = 9;

export function make(name, attributes = {}, parent = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

export class Overlay {
  // `still` lies beneath and holds the outlines that nobody has in hand: while nothing of them changes it is not painted
  // again, which with many shapes costs more than all the rest of a redraw.
  constructor(svg, still, shapes, view, settings) {
    this.svg = svg;
    this.still = make("g", { id: "layer-still" }, still);
    this.stillDrawn = [];
    this.shapes = shapes;
    this.view = view;
    this.settings = settings;
    this.layers = Object.fromEntries(["matte", "onion", "ghosts", "outlines", "handles", "tool"].map(
      (name) => [name, make("g", { id: `layer-${name}` }, svg)]));
    this.mask = make("mask", { id: "cover", maskUnits: "userSpaceOnUse" }, make("defs", {}, svg));
    this.sketch = null;   // the shape being drawn: { kind, points: [[in, centre, out]...] }
    this.marquee = null;
  }

  draw() {
    const { view } = this;
    const transform = `matrix(${view.zoom} 0 0 ${view.zoom} ${view.x} ${view.y})`;
    for (const layer of Object.values(this.layers)) {
      layer.setAttribute("transform", transform);
      layer.replaceChildren();
    }
    this.mask.replaceChildren();
    if (!this.shapes.shot) return;
    const shown = this.shapes.list.filter((shape) => shape.shown && this.shapes.courses.has(shape.id));
    this.drawMatte(shown);
    const apart = (shape) => this.settings.matte === "plate" && !this.shapes.selected.has(shape.id);
    this.drawStill(this.settings.overlay ? shown.filter(apart) : [], transform);
    if (this.settings.overlay) {
      if (this.settings.onion) for (const shape of shown) if (this.shapes.selected.has(shape.id)) this.drawOnion(shape);
      if (this.settings.method !== "model") for (const shape of shown) this.drawGhost(shape);
      for (const shape of shown) if (!apart(shape)) this.drawOutline(shape, this.layers.outlines);
      if (!this.swapped) for (const shape of shown) if (this.shapes.selected.has(shape.id)) this.drawHandles(shape);
      if (!this.swapped && this.settings.tool === "transform") this.drawBox();
    }
    this.drawTool();
  }

  // What the method compared with makes of a shape, or null.
  other(shape) {
    return this.shapes.comparisons.get(`${this.settings.method} ${shape.id}`) ?? null;
  }

  // B is in the place of A: looked at, not edited.
  get swapped() {
    return this.settings.swapped && this.settings.method !== "model";
  }

  path(shape, frame = this.shapes.frame, source = this.swapped ? this.other(shape) : null) {
    return pathOf(this.shapes.at(shape.id, frame, source), shape.kind, shape.closed);
  }

  drawMatte(shown) {
    const mode = this.settings.matte;
    if (mode === "plate") return;
    const { shot } = this.shapes;
    const area = { x: -shot.width, y: -shot.height, width: 3 * shot.width, height: 3 * shot.height };
    const alive = shown.filter((shape) => shape.closed && this.shapes.alive(shape));
    if (mode === "tint") {
      for (const shape of alive) make("path", { d: this.path(shape), fill: colourOf(shape), "fill-opacity": 0.35 }, this.layers.matte);
      return;
    }
    const ground = { ...area, fill: BACKGROUNDS[mode] };
    if (mode === "matte") {
      make("rect", ground, this.layers.matte);
      for (const shape of alive) make("path", { d: this.path(shape), fill: "#fff" }, this.layers.matte);
      return;
    }
    for (const [key, value] of Object.entries(area)) this.mask.setAttribute(key, value);
    make("rect", { ...area, fill: "#fff" }, this.mask);
    for (const shape of alive) make("path", { d: this.path(shape), fill: "#000" }, this.mask);
    make("rect", { ...ground, mask: "url(#cover)" }, this.layers.matte);
  }

  drawOnion(shape) {
    for (const step of ONION) {
      const frame = this.shapes.frame + step;
      if (frame < this.shapes.shot.first || frame > this.shapes.shot.last) continue;
      const stroke = step < 0 ? "#ff8a80" : "#80d8ff";
      const opacity = Math.abs(step) === 4 ? 0.8 : 0.45;
      make("path", { class: "onion", d: this.path(shape, frame), stroke, "stroke-opacity": opacity }, this.layers.onion);
    }
  }

  drawGhost(shape) {
    const other = this.other(shape);
    if (!other) return;
    const d = this.path(shape, this.shapes.frame, this.swapped ? null : other);
    make("path", { class: "under", d }, this.layers.ghosts);
    make("path", { class: "ghost", d, stroke: "#ffffff" }, this.layers.ghosts);
  }

  drawStill(shapes, transform) {
    const now = [transform, this.shapes.frame, ...shapes.flatMap((shape) => (
      [shape.id, this.shapes.courses.get(shape.id), this.shapes.alive(shape), this.swapped && this.other(shape)]))];
    if (now.length === this.stillDrawn.length && now.every((value, i) => value === this.stillDrawn[i])) return;
    this.stillDrawn = now;
    this.still.setAttribute("transform", transform);
    this.still.replaceChildren();
    for (const shape of shapes) this.drawOutline(shape, this.still);
  }

  drawOutline(shape, layer) {
    const d = this.path(shape), state = this.shapes.state(shape.id);
    const classes = ["outline"];
    if (state === PENDING) classes.push("pending");
    if (!this.shapes.alive(shape)) classes.push("dead");
    if (this.shapes.selected.has(shape.id)) classes.push("selected");
    make("path", { class: "under", d }, layer);
    make("path", { class: classes.join(" "), d, stroke: colourOf(shape), "data-shape": shape.id }, layer);
    const feather = this.shapes.featherAt(shape.id);
    if (feather && !this.swapped) make("path", { class: "feather", d: pathOf(this.shapes.at(shape.id), shape.kind, shape.closed, feather), stroke: colourOf(shape) }, layer);
    if (!this.swapped) make("path", { class: "grab", d, "data-grab": shape.id }, layer);
  }

  drawHandles(shape) {
    const controls = this.shapes.at(shape.id), layer = this.layers.handles, scale = 1 / this.view.zoom;
    const feather = this.shapes.featherAt(shape.id);
    const chosen = this.shapes.points.get(shape.id) ?? new Set();
    const state = this.shapes.state(shape.id);
    const own = state === KEY || state === ACCEPTED;
    const editable = this.shapes.editable(shape);
    const count = controls.length / 6;
    const tangents = shape.kind === "bezier" && editable;
    if (shape.kind === "bspline") make("path", { class: "cage", d: pathOf(controls, "polygon", shape.closed) }, layer);
    for (let i = 0; i < count; i += 1) {
      const [x, y] = [controls[6 * i + 2], controls[6 * i + 3]];
      if (tangents && (chosen.has(i) || count <= 24 && this.view.zoom > 0.9 || chosen.size === 0 && this.view.zoom > 1.6)) {
        for (const part of [0, 2]) {
          const [tx, ty] = [controls[6 * i + 2 * part], controls[6 * i + 2 * part + 1]];
          if (Math.hypot(tx, ty) * this.view.zoom < 3 && !chosen.has(i)) continue;
          make("line", { class: "arm", x1: x, y1: y, x2: x + tx, y2: y + ty }, layer);
          const at = { cx: x + tx, cy: y + ty };
          make("circle", { class: "tangent", ...at, r: TANGENT * scale }, layer);
          make("circle", { class: "target", ...at, r: REACH * scale, "data-handle": `${shape.id} ${i} ${part}` }, layer);
        }
      }
      if (feather && editable) {
        const [fx, fy] = [x + feather[6 * i + 2], y + feather[6 * i + 3]];
        if (chosen.has(i) || Math.hypot(fx - x, fy - y) > 1) {
          make("line", { class: "arm", x1: x, y1: y, x2: fx, y2: fy }, layer);
          make("rect", { class: "tangent", x: fx - 3 * scale, y: fy - 3 * scale, width: 6 * scale, height: 6 * scale }, layer);
          make("circle", { class: "target", cx: fx, cy: fy, r: 6 * scale, "data-handle": `${shape.id} ${i} 3` }, layer);
        }
      }
    }
    for (let i = 0; i < count; i += 1) {
      const at = { cx: controls[6 * i + 2], cy: controls[6 * i + 3] };
      const kind = chosen.has(i) ? "point chosen" : own ? "point" : "point free";
      const paint = chosen.has(i) ? {} : own ? { fill: colourOf(shape) } : { stroke: colourOf(shape) };
      const point = make("circle", { class: kind, ...at, r: POINT * scale, ...paint }, layer);
      if (kind === "point free") point.style.stroke = colourOf(shape);
      if (editable) make("circle", { class: "target", ...at, r: REACH * scale, "data-handle": `${shape.id} ${i} 1` }, layer);
    }
  }

  drawBox() {
    const box = boundsOf(this.shapes.held, (id) => this.shapes.at(id));
    if (!box) return;
    const layer = this.layers.tool, scale = 1 / this.view.zoom, margin = 12 * scale;
    const [left, top] = [box.left - margin, box.top - margin];
    const [right, bottom] = [box.right + margin, box.bottom + margin];
    make("rect", { class: "box", x: left, y: top, width: right - left, height: bottom - top, "data-box": "move" }, layer);
    const middle = [(left + right) / 2, (top + bottom) / 2];
    const places = { nw: [left, top], ne: [right, top], se: [right, bottom], sw: [left, bottom],
      n: [middle[0], top], e: [right, middle[1]], s: [middle[0], bottom], w: [left, middle[1]] };
    for (const [name, [x, y]] of Object.entries(places)) {
      make("rect", { class: "knob", x: x - 4 * scale, y: y - 4 * scale, width: 8 * scale, height: 8 * scale }, layer);
      make("circle", { class: "target", cx: x, cy: y, r: 10 * scale, "data-box": name }, layer);
    }
    const handle = [middle[0], top - 26 * scale];
    make("line", { class: "arm", x1: middle[0], y1: top, x2: handle[0], y2: handle[1] }, layer);
    make("circle", { class: "knob", cx: handle[0], cy: handle[1], r: 5 * scale }, layer);
    make("circle", { class: "target", cx: handle[0], cy: handle[1], r: 11 * scale, "data-box": "rotate" }, layer);
  }

  drawTool() {
    const layer = this.layers.tool, scale = 1 / this.view.zoom;
    if (this.marquee) {
      const { x, y, width, height } = this.marquee;
      make("rect", { class: "marquee", x, y, width, height }, layer);
    }
    if (!this.sketch) return;
    const flat = this.sketch.points.flat(2);
    make("path", { class: "under", d: pathOf(flat, this.sketch.kind, false) }, layer);
    make("path", { class: "outline selected", d: pathOf(flat, this.sketch.kind, false), stroke: "#fff" }, layer);
    this.sketch.points.forEach(([into, centre, out], index) => {
      for (const [dx, dy] of [into, out]) {
        if (Math.hypot(dx, dy) < 1e-6) continue;
        make("line", { class: "arm", x1: centre[0], y1: centre[1], x2: centre[0] + dx, y2: centre[1] + dy }, layer);
      }
      make("circle", { class: "point chosen", cx: centre[0], cy: centre[1], r: (index ? POINT : POINT + 2) * scale }, layer);
    });
  }
}
