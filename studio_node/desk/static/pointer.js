// The pointer over the viewer: drag handles, select, marquee, transform, draw, pan and zoom.

import { boundsOf, nearestOn } from "./curves.js";

const CLOSE = 10;  // screen pixels from the first point that close a shape being drawn

export class Pointer {
  constructor(viewer, desk) {
    this.viewer = viewer;
    this.desk = desk;
    this.act = null;
    this.gestures = 0;
    viewer.addEventListener("pointerdown", (event) => this.down(event));
    viewer.addEventListener("pointermove", (event) => this.move(event));
    viewer.addEventListener("pointerup", (event) => this.up(event));
    viewer.addEventListener("pointercancel", () => this.cancel());
    viewer.addEventListener("contextmenu", (event) => event.preventDefault());
    viewer.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = viewer.getBoundingClientRect();
      desk.view.zoomAt(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
      desk.draw();
    }, { passive: false });
  }

  down(event) {
    const { desk } = this;
    this.viewer.focus();
    if (event.button === 1 || event.button === 2) return this.begin(event, { kind: "pan" });
    if (event.button !== 0) return;
    const at = desk.view.toPlate(event);
    const { tool } = desk.settings;
    if (tool === "bezier" || tool === "bspline") return this.sketchDown(event, at, tool);
    const { handle, box, grab } = event.target.dataset;
    if (box) return this.begin(event, { kind: "transform", mode: box, at });
    if (handle) return this.handleDown(event, handle, at);
    if (grab) return this.shapeDown(event, Number(grab), at);
    if (event.altKey) return this.begin(event, { kind: "pan" });
    this.begin(event, { kind: "marquee", at, add: event.shiftKey });
  }

  begin(event, act) {
    this.viewer.setPointerCapture(event.pointerId);
    this.desk.stop();
    this.act = { ...act, x: event.clientX, y: event.clientY, moved: false };
    if (act.kind === "pan") this.viewer.classList.add("panning");
  }

  handleDown(event, handle, at) {
    const { shapes } = this.desk;
    const [shape, point, part] = handle.split(" ").map(Number);
    const chosen = shapes.points.get(shape) ?? new Set();
    if (event.shiftKey && part === 1) {
      chosen.has(point) ? chosen.delete(point) : chosen.add(point);
      shapes.points.set(shape, chosen);
      this.desk.draw();
      return;
    }
    if (!chosen.has(point)) {
      shapes.select([shape]);
      shapes.points.set(shape, new Set([point]));
    }
    const several = part === 1 && [...shapes.points.values()].reduce((sum, held) => sum + held.size, 0) > 1;
    const controls = shapes.at(shape);
    const feather = shapes.featherAt(shape);
    let [x, y] = [controls[6 * point + 2], controls[6 * point + 3]];
    if (part === 3) [x, y] = [x + feather[6 * point + 2], y + feather[6 * point + 3]];
    else if (part !== 1) [x, y] = [x + controls[6 * point + 2 * part], y + controls[6 * point + 2 * part + 1]];
    this.gestures += 1;
    const grip = [x - at[0], y - at[1]];  // where in the handle it was taken hold of
    this.begin(event, several
      ? { kind: "transform", mode: "move", at, free: true }
      : { kind: "drag", shape, point, part, grip, gesture: this.gestures });
    this.desk.draw();
  }

  shapeDown(event, id, at) {
    const { shapes } = this.desk;
    if (event.ctrlKey && event.altKey) {
      const [segment, share] = nearestOn(shapes.at(id), shapes.find(id), at);
      return this.desk.points("add", [{ shape: id, points: [segment] }], [share]);
    }
    if (!shapes.selected.has(id)) shapes.select([id], { add: event.shiftKey });
    else if (event.shiftKey) shapes.selected.delete(id);
    else shapes.points.clear();
    this.desk.selectionChanged();
    if (shapes.selected.has(id) && event.ctrlKey) this.begin(event, { kind: "transform", mode: "move", at });
  }

  move(event) {
    const { act, desk } = this;
    if (!act) return;
    if (!act.moved && Math.hypot(event.clientX - act.x, event.clientY - act.y) < 2) return;
    act.moved = true;
    if (act.kind === "pan") {
      desk.view.pan(event.movementX, event.movementY);
      return desk.draw();
    }
    const at = desk.view.toPlate(event);
    if (act.kind === "marquee") {
      const [x, y] = [Math.min(at[0], act.at[0]), Math.min(at[1], act.at[1])];
      desk.overlay.marquee = { x, y, width: Math.abs(at[0] - act.at[0]), height: Math.abs(at[1] - act.at[1]) };
      desk.draw();
    } else if (act.kind === "drag") this.dragged(event, at, false);
    else if (act.kind === "transform") this.transformed(event, at, false);
    else if (act.kind === "sketch") this.sketchMove(at);
  }

  up(event) {
    const { act, desk } = this;
    if (!act) return;
    this.act = null;
    this.viewer.classList.remove("panning");
    const at = desk.view.toPlate(event);
    if (act.kind === "marquee") this.marqueeDone(act);
    else if (act.kind === "drag" && act.moved) this.dragged(event, at, true, act);
    else if (act.kind === "transform" && act.moved) this.transformed(event, at, true, act);
    desk.overlay.marquee = null;
    desk.selectionChanged();
  }

  cancel() {
    if (this.act?.gesture) this.desk.send({ op: "cancel" });
    this.act = null;
    this.desk.overlay.marquee = null;
    this.viewer.classList.remove("panning");
  }

  dragged(event, at, drop, act = this.act) {
    const { desk } = this;
    const to = [at[0] + act.grip[0], at[1] + act.grip[1]];
    const head = { op: "drag", gesture: act.gesture, frame: desk.shapes.frame, part: act.part, drop,
      parts: [{ shape: act.shape, points: [act.point] }], exact: event.altKey, ripple: desk.settings.ripple };
    if (act.part === 1) {  // at once here, the rest with the answer
      const controls = desk.shapes.at(act.shape);
      [controls[6 * act.point + 2], controls[6 * act.point + 3]] = to;
      desk.draw();
    }
    desk.gesture(head, to, event.timeStamp);
  }

  transformed(event, at, drop, act = this.act) {
    const { desk } = this;
    if (!act.gesture) {
      this.gestures += 1;
      act.gesture = this.gestures;
      act.parts = desk.shapes.held;
      act.bounds = boundsOf(act.parts, (id) => desk.shapes.at(id));
    }
    if (!act.parts.length || !act.bounds) return;
    const matrix = matrixOf(act, at, event.shiftKey);
    const head = { op: "transform", gesture: act.gesture, frame: desk.shapes.frame, drop, parts: act.parts,
      exact: event.altKey || !act.free, ripple: desk.settings.ripple };
    desk.gesture(head, matrix, event.timeStamp);
  }

  marqueeDone(act) {
    const { shapes, overlay } = this.desk;
    const box = overlay.marquee;
    if (!box) {
      if (!act.add) shapes.points.clear();
      return;
    }
    if (!act.add) shapes.points.clear();
    const among = shapes.selected.size ? shapes.chosen : shapes.list;
    for (const shape of among) {
      if (!shape.shown || !shapes.courses.has(shape.id)) continue;
      const controls = shapes.at(shape.id), chosen = new Set(shapes.points.get(shape.id));
      for (let i = 0; i < controls.length / 6; i += 1) {
        const [x, y] = [controls[6 * i + 2] - box.x, controls[6 * i + 3] - box.y];
        if (x >= 0 && y >= 0 && x <= box.width && y <= box.height) chosen.add(i);
      }
      if (chosen.size) {
        shapes.selected.add(shape.id);
        shapes.points.set(shape.id, chosen);
      }
    }
  }

  sketchDown(event, at, kind) {
    const { overlay, view } = this.desk;
    overlay.sketch ??= { kind, points: [] };
    const { points } = overlay.sketch;
    if (points.length > 2) {
      const [x, y] = points[0][1];
      if (Math.hypot(x - at[0], y - at[1]) * view.zoom < CLOSE) return this.finishSketch(true);
    }
    points.push([[0, 0], at, [0, 0]]);
    this.begin(event, { kind: "sketch", index: points.length - 1 });
    this.desk.draw();
  }

  sketchMove(at) {
    const { overlay } = this.desk;
    if (!overlay.sketch || overlay.sketch.kind !== "bezier") return;
    const point = overlay.sketch.points[this.act.index];
    const out = [at[0] - point[1][0], at[1] - point[1][1]];
    point[2] = out;
    point[0] = [-out[0], -out[1]];
    this.desk.draw();
  }

  finishSketch(closed) {
    const { desk } = this;
    const { sketch } = desk.overlay;
    desk.overlay.sketch = null;
    this.act = null;
    if (sketch && sketch.points.length >= (closed ? 3 : 2)) {
      desk.send({ op: "draw", kind: sketch.kind, closed, frame: desk.shapes.frame,
        name: sketch.kind === "bezier" ? "Bezier1" : "BSpline1" }, sketch.points.flat(2));
      desk.setTool("select");
    }
    desk.draw();
  }
}

// The affine map [a, b, tx, c, d, ty] of a transform gesture; shift keeps proportions, or turns in steps of 15 degrees.
function matrixOf(act, at, shift) {
  const { left, right, top, bottom } = act.bounds;
  const middle = [(left + right) / 2, (top + bottom) / 2];
  if (act.mode === "move") return [1, 0, at[0] - act.at[0], 0, 1, at[1] - act.at[1]];
  if (act.mode === "rotate") {
    const from = Math.atan2(act.at[1] - middle[1], act.at[0] - middle[0]);
    let angle = Math.atan2(at[1] - middle[1], at[0] - middle[0]) - from;
    if (shift) angle = Math.round(angle / (Math.PI / 12)) * (Math.PI / 12);
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    return [c, -s, middle[0] - c * middle[0] + s * middle[1], s, c, middle[1] - s * middle[0] - c * middle[1]];
  }
  const pivot = [
    act.mode.includes("w") ? right : act.mode.includes("e") ? left : middle[0],
    act.mode.includes("n") ? bottom : act.mode.includes("s") ? top : middle[1],
  ];
  const ratio = (axis) => {
    const arm = act.at[axis] - pivot[axis];
    return Math.abs(arm) < 1e-6 ? 1 : (at[axis] - pivot[axis]) / arm;
  };
  let sx = act.mode === "n" || act.mode === "s" ? 1 : ratio(0);
  let sy = act.mode === "e" || act.mode === "w" ? 1 : ratio(1);
  if (shift) sx = sy = act.mode === "n" || act.mode === "s" ? sy : sx;
  return [sx, 0, pivot[0] * (1 - sx), 0, sy, pivot[1] * (1 - sy)];
}
