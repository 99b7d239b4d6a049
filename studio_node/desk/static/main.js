// The desk's page: wires the parts together. What can be done is in `actions`; buttons and keys call it by name.

import { actionsOf } from "./actions.js";
import { Connection } from "./connection.js";
import { helpPage, listen } from "./keyboard.js";
import { Overlay } from "./overlay.js";
import { Panel, element, said } from "./panel.js";
import { Plate } from "./plate.js";
import { Player } from "./player.js";
import { Pointer } from "./pointer.js";
import { PREDICTED, ROUGH, Shapes } from "./shapes.js";
import { Timeline } from "./timeline.js";
import { View } from "./view.js";

const byId = (id) => document.getElementById(id);

history.replaceState(null, "", "/");  // the token is in a cookie now: it does not stay in the address or its history

class Desk {
  constructor() {
    this.shapes = new Shapes();
    this.settings = { tool: "select", method: "model", matte: "plate", swapped: false, onion: false, overlay: true, ripple: false };
    this.viewer = byId("viewer");
    this.view = new View(this.viewer, byId("plate"));
    this.plate = new Plate(byId("plate"), (frame) => frame === this.shapes.frame && this.draw());
    this.overlay = new Overlay(byId("overlay"), byId("still"), this.shapes, this.view, this.settings);
    this.timeline = new Timeline(byId("timeline"), this);
    this.panel = new Panel(byId("shapes"), byId("detail"), this);
    this.player = new Player(this);
    this.pointer = new Pointer(this.viewer, this);
    this.latencies = [];  // ms from the pointer's move to the redrawn frame, for benchmarks/desk_latency.py
    this.waitingDraw = false;
    this.moments = [];
    this.connection = new Connection((...message) => this.take(...message), (on) => this.connected(on));
    new ResizeObserver(() => {
      if (this.shapes.shot && !this.view.touched) this.view.fit(this.shapes.shot);
      this.draw();
    }).observe(this.viewer);
  }

  take(head, numbers, moment) {
    const { shapes } = this;
    if (head.op === "refused") this.notice(head.hint ? `${head.text} (${head.hint})` : head.text, true);
    else if (head.op === "exported") this.exported(head);
    else if (head.op === "exporting") byId("progress").textContent = `writing mattes ${head.done} of ${head.total}`;
    else if (head.op === "drawn") this.drawnShape = head.shape;
    else shapes.take(head, numbers);
    if (head.op === "state") this.takeState();
    if (head.op === "course" && !head.preview && this.settings.method !== "model") this.compare();
    if (moment && head.op === "course") this.moments.push(moment);
    this.draw();
  }

  takeState() {
    const { shapes } = this;
    if (!this.begun) {
      this.begun = true;
      document.title = `${shapes.shot.name} · fedroto desk`;
      byId("shot-name").textContent = shapes.shot.name;
      this.plate.begin(shapes.shot);
      this.view.fit(shapes.shot);
      if (shapes.list.length === 1) shapes.select([shapes.list[0].id]);
      this.go(shapes.list[0]?.keys[0] ?? shapes.shot.first);
    }
    if (this.drawnShape && shapes.find(this.drawnShape)) {
      shapes.select([this.drawnShape]);
      this.drawnShape = null;
    }
    this.panel.draw();
    byId("progress").textContent = shapes.left ? `predicting, ${shapes.left} span${shapes.left > 1 ? "s" : ""} left` : "";
    for (const [name, label] of [["undo", shapes.undo], ["redo", shapes.redo]]) {
      const button = document.querySelector(`[data-do=${name}]`);
      button.disabled = label === null;
      button.title = label === null ? `nothing to ${name}` : `${name}: ${label}`;
    }
    document.documentElement.dataset.left = shapes.left;
  }

  connected(on) {
    document.documentElement.dataset.connected = on;
    if (!on) this.notice("the desk's server does not answer; your work is saved, start it again and this page goes on", true, true);
    else byId("notice").hidden = true;
  }

  // One redraw a frame, whatever happened.
  draw() {
    if (this.waitingDraw) return;
    this.waitingDraw = true;
    requestAnimationFrame(() => {
      this.waitingDraw = false;
      this.drawNow();
      for (const moment of this.moments.splice(0)) this.latencies.push(performance.now() - moment);
    });
  }

  drawNow() {
    const { shapes } = this;
    if (!shapes.shot) return;
    byId("missing").hidden = this.plate.show(shapes.frame) !== "missing";
    this.overlay.draw();
    this.timeline.draw();
    byId("said").textContent = said(shapes, this.overlay.swapped ? this.settings.method : null);
    if (document.activeElement !== byId("frame")) byId("frame").value = shapes.frame;
    for (const button of document.querySelectorAll("[data-tool]")) button.classList.toggle("on", button.dataset.tool === this.settings.tool);
    byId("method").value = this.settings.method;
    byId("swap").classList.toggle("on", this.overlay.swapped);
    this.viewer.classList.toggle("drawing", ["bezier", "bspline"].includes(this.settings.tool));
  }

  send(head, numbers = []) {
    this.connection.send(head, numbers);
  }

  gesture(head, numbers, moment) {
    this.connection.gesture(head, numbers, moment);
  }

  go(frame, { playing = false } = {}) {
    const { shot } = this.shapes;
    if (!shot) return;
    const to = Math.min(Math.max(Math.round(frame), shot.first), shot.last);
    const direction = to < this.shapes.frame ? -1 : 1;
    this.shapes.frame = to;
    this.plate.want(to, direction);
    if (!playing) {
      clearTimeout(this.settled);
      this.settled = setTimeout(() => this.settle(), 150);
    }
    this.draw();
  }

  settle() {
    const { shapes } = this;
    this.send({ op: "look", frame: shapes.frame, shape: shapes.inHand[0]?.id ?? 0 });
    this.plate.sharpen(shapes.frame);
  }

  stop() {
    this.player.stop();
  }

  selectionChanged() {
    this.panel.draw();
    this.settle();
    this.draw();
  }

  setTool(tool) {
    if (this.overlay.sketch && tool !== this.settings.tool) this.overlay.sketch = null;
    this.settings.tool = tool;
    this.draw();
  }

  setMethod(method) {
    this.settings.method = method;
    if (method === "model") this.settings.swapped = false;
    if (method !== "model") this.compare();
    this.draw();
  }

  compare() {
    const { method } = this.settings;
    const shapes = this.shapes.list.map((shape) => shape.id).filter((id) => !this.shapes.comparisons.has(`${method} ${id}`));
    if (shapes.length) this.send({ op: "compare", method, shapes });
  }

  notice(text, bad = false, stay = false) {
    const box = byId("notice");
    box.replaceChildren(element("span", {}, text));
    box.classList.toggle("bad", bad);
    box.hidden = false;
    clearTimeout(this.noticeEnds);
    if (!stay) this.noticeEnds = setTimeout(() => { box.hidden = true; }, 9000);
    return box;
  }

  exported(head) {
    byId("progress").textContent = "";
    const box = this.notice([`written: ${head.path}`, ...head.notes].join("; ") + " ", false, true);
    document.documentElement.dataset.exported = head.path;
    if (head.link) {
      const link = element("a", { href: head.link, download: "" }, "download");
      box.append(link);
    }
    const close = element("button", {}, "Close");
    close.addEventListener("click", () => { box.hidden = true; });
    box.append(" ", close);
  }

  // Frames that keep the artist's shapes waiting for a look, the least sure first.
  worstFrames() {
    const { shapes } = this, found = [];
    const among = shapes.inHand.length ? shapes.inHand : shapes.list;
    for (let frame = shapes.shot.first; frame <= shapes.shot.last; frame += 1) {
      const open = among.filter((shape) => [PREDICTED, ROUGH].includes(shapes.state(shape.id, frame)) && shapes.alive(shape, frame));
      if (open.length) found.push([Math.min(...open.map((shape) => shapes.confidence(shape.id, frame))), frame]);
    }
    return found.sort((a, b) => a[0] - b[0]).map(([, frame]) => frame);
  }

  keyFrames() {
    const among = this.shapes.inHand.length ? this.shapes.inHand : this.shapes.list;
    return [...new Set(among.flatMap((shape) => shape.keys))].sort((a, b) => a - b);
  }

  withShapes(op, more = {}) {
    const shapes = this.shapes.inHand.map((shape) => shape.id);
    if (!shapes.length) return this.notice("select a shape first", true);
    this.send({ op, shapes, frame: this.shapes.frame, ...more });
  }

  get chosenPoints() {
    return [...this.shapes.points].filter(([, points]) => points.size).map(([shape, points]) => ({ shape, points: [...points] }));
  }

  points(what, parts = this.chosenPoints, numbers = []) {
    if (!parts.length) return this.notice("select points first", true);
    this.send({ op: "points", what, parts }, numbers);
    if (what !== "smooth" && what !== "sharp") this.shapes.points.clear();
  }

  // The frames to show or hide shapes on: those marked, or this one.
  see() {
    const [first, last] = this.timeline.range ? this.rangeHere() : [this.shapes.frame, this.shapes.frame];
    const visible = !this.shapes.inHand.some((shape) => this.shapes.alive(shape));
    this.withShapes("set", { visible, first, last, label: `${visible ? "show" : "hide"} ${first}-${last}` });
  }

  layer() {
    if (!this.shapes.inHand.length) return this.notice("select the shapes for the layer first", true);
    const name = prompt("Layer for the selected shapes");
    if (name) this.withShapes("set", { layer: name, label: `layer ${name}` });
  }

  feather(width) {
    const held = this.shapes.held.map((part) => ({ shape: part.shape, points: this.chosenOf(part.shape) }));
    if (!held.length) return this.notice("select a shape first", true);
    this.send({ op: "feather", frame: this.shapes.frame, parts: held }, [width]);
  }

  chosenOf(shape) {
    const points = this.shapes.points.get(shape);
    return points?.size ? [...points] : null;
  }

  accept(first, last, undo = false) {
    this.withShapes("accept", { first, last, undo });
  }

  // The frames marked in the timeline, or those between the keys around this frame.
  rangeHere() {
    if (this.timeline.range) return [Math.min(...this.timeline.range), Math.max(...this.timeline.range)];
    const { shot, frame } = this.shapes, keys = this.keyFrames();
    return [keys.filter((key) => key <= frame).at(-1) ?? shot.first, keys.find((key) => key > frame) ?? shot.last];
  }

  zoom(factor) {
    this.view.zoomAt(factor, this.viewer.clientWidth / 2, this.viewer.clientHeight / 2);
    this.draw();
  }

  expose(stops) {
    const slider = byId("exposure");
    slider.value = Number(slider.value) + stops;
    slider.dispatchEvent(new Event("input"));
  }

  act(name) {
    actionsOf(this)[name]?.();
  }
}

const desk = new Desk();
listen((name) => desk.act(name));
helpPage(byId("help"));
for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => { desk.act(button.dataset.do); button.blur(); });
for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => desk.setTool(button.dataset.tool));
byId("method").addEventListener("change", (event) => { desk.setMethod(event.target.value); event.target.blur(); });
byId("matte").addEventListener("change", (event) => { desk.settings.matte = event.target.value; desk.draw(); event.target.blur(); });
byId("onion").addEventListener("change", (event) => { desk.settings.onion = event.target.checked; desk.draw(); });
byId("ripple").addEventListener("change", (event) => { desk.settings.ripple = event.target.checked; });
byId("exposure").addEventListener("input", (event) => { byId("plate").style.filter = `brightness(${2 ** event.target.value})`; });
byId("frame").addEventListener("change", (event) => { desk.go(Number(event.target.value)); event.target.blur(); });
byId("export").addEventListener("change", (event) => {
  const format = event.target.value;
  event.target.value = "";
  event.target.blur();
  if (format) desk.send({ op: "export", format });
});
window.fedrotoDesk = desk;  // for the browser tests and the benchmark
