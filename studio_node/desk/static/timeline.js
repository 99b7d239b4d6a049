// The timeline: ruler, solid diamonds (the artist's keys), hollow ones (predicted), green ones (accepted), confidence strip,
// and below it where the shapes live and are seen.

import { ACCEPTED, KEY, PENDING, PREDICTED, ROUGH, worstOf } from "./shapes.js";

const MARGIN = 14, RULER = 20, DIAMONDS = 38, STRIP = 54, STRIP_HEIGHT = 14, LIFE = 72, LIFE_HEIGHT = 6;

export class Timeline {
  constructor(canvas, desk) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.desk = desk;
    this.range = null;   // [first, last] marked with shift
    this.moving = null;  // { from, to } a key being moved
    this.life = null;    // [first, last] of the lifetime whose end is being moved
    this.act = null;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.up());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  get width() {
    return this.canvas.clientWidth;
  }

  x(frame) {
    const { first, last } = this.desk.shapes.shot;
    return MARGIN + ((frame - first + 0.5) / (last - first + 1)) * (this.width - 2 * MARGIN);
  }

  frameAt(event) {
    const { first, last } = this.desk.shapes.shot;
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const frame = first + Math.floor(((x - MARGIN) / (this.width - 2 * MARGIN)) * (last - first + 1));
    return Math.min(Math.max(frame, first), last);
  }

  down(event) {
    const { desk } = this;
    if (!desk.shapes.shot) return;
    this.canvas.setPointerCapture(event.pointerId);
    desk.stop();
    const frame = this.frameAt(event), y = event.offsetY;
    const near = this.keyNear(event);
    if (event.shiftKey) {
      this.act = "range";
      this.range = [frame, frame];
    } else if (near !== null && y > RULER + 4 && y < STRIP - 4 && event.ctrlKey) {
      this.act = "key";
      this.moving = { from: near, to: near };
    } else if (y >= LIFE - 2 && this.grabLife(frame)) {
      this.act = "life";
    } else {
      this.act = "scrub";
      if (this.range && (frame < Math.min(...this.range) || frame > Math.max(...this.range))) this.range = null;
      desk.go(near ?? frame);
    }
    this.draw();
  }

  keyNear(event) {
    const { shapes } = this.desk;
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    let best = null, distance = 6;
    for (const shape of shapes.inHand) for (const key of shape.keys) {
      const away = Math.abs(this.x(key) - x);
      if (away < distance) [best, distance] = [key, away];
    }
    return best;
  }

  // The end of the one selected shape's lifetime that is nearest; null in `life` is an end that is not there.
  grabLife(frame) {
    const { shapes } = this.desk, { shot } = shapes, [shape] = shapes.inHand;
    if (shapes.inHand.length !== 1 || !shapes.editable(shape)) return false;
    const ends = [shape.first ?? shot.first, shape.last ?? shot.last];
    this.life = [shape.first, shape.last];
    this.lifeEnd = Math.abs(frame - ends[0]) <= Math.abs(frame - ends[1]) ? 0 : 1;
    this.life[this.lifeEnd] = frame;
    return true;
  }

  move(event) {
    if (!this.act) return;
    const frame = this.frameAt(event);
    if (this.act === "scrub") this.desk.go(frame);
    else if (this.act === "range") this.range[1] = frame;
    else if (this.act === "life") this.life[this.lifeEnd] = frame;
    else this.moving.to = frame;
    this.draw();
  }

  up() {
    if (this.act === "key" && this.moving.from !== this.moving.to) {
      const { from, to } = this.moving;
      const shapes = this.desk.shapes.inHand.filter((shape) => shape.keys.includes(from)).map((shape) => shape.id);
      this.desk.send({ op: "move_key", shapes, frame: from, to });
      this.desk.go(to);
    }
    if (this.act === "life") {
      const { shot } = this.desk.shapes;
      const life = [this.life[0] === shot.first ? null : this.life[0], this.life[1] === shot.last ? null : this.life[1]];
      this.desk.withShapes("set", { life, label: "lifetime" });
    }
    this.act = this.moving = this.life = null;
    this.draw();
  }

  draw() {
    const { shapes } = this.desk;
    const ratio = devicePixelRatio, { context } = this;
    const [width, height] = [this.width, this.canvas.clientHeight];
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    context.scale(ratio, ratio);
    if (!shapes.shot) return;
    this.drawRange(height);
    this.drawRuler(height);
    const shown = shapes.inHand.filter((shape) => shapes.courses.has(shape.id));
    if (!shown.length) {
      context.fillStyle = "#9aa0a6";
      context.fillText(shapes.list.length ? "select a shape to see its keys" : "draw a shape (V) to begin", MARGIN, DIAMONDS + 4);
    }
    this.drawStrip(shown);
    this.drawDiamonds(shown);
    this.drawLife(shown);
    const x = this.x(shapes.frame);
    context.strokeStyle = "#fff";
    context.lineWidth = 1;
    line(context, x, 0, x, height);
  }

  drawRange(height) {
    if (!this.range) return;
    const { context } = this, half = (this.width - 2 * MARGIN) / (this.desk.shapes.shot.last - this.desk.shapes.shot.first + 1) / 2;
    const [a, b] = [Math.min(...this.range), Math.max(...this.range)];
    context.fillStyle = "#3f5a7d88";
    context.fillRect(this.x(a) - half, 0, this.x(b) - this.x(a) + 2 * half, height);
  }

  drawRuler(height) {
    const { context } = this, { first, last, missing } = this.desk.shapes.shot;
    const perFrame = (this.width - 2 * MARGIN) / (last - first + 1);
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((s) => s * perFrame > 42) ?? 5000;
    context.fillStyle = "#9aa0a6";
    context.strokeStyle = "#3c4045";
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    for (let frame = Math.ceil(first / step) * step; frame <= last; frame += step) {
      const x = this.x(frame);
      line(context, x, RULER - 4, x, height);
      context.fillText(String(frame), x, 12);
    }
    context.textAlign = "left";
    context.fillStyle = "#e5534b";
    for (const frame of missing) context.fillRect(this.x(frame) - 1.5, RULER - 4, 3, 4);
  }

  drawStrip(shown) {
    const { context } = this, { shapes } = this.desk, { first, last } = shapes.shot;
    const step = (this.width - 2 * MARGIN) / (last - first + 1);
    for (let frame = first; frame <= last; frame += 1) {
      let worst = null, pending = false;
      for (const shape of shown) {
        const state = shapes.state(shape.id, frame);
        if (!shapes.alive(shape, frame)) continue;
        if (state === PENDING) pending = true;
        else if (state !== 0) worst = Math.min(worst ?? 1, shapes.confidence(shape.id, frame));
      }
      if (worst === null && !pending) continue;
      context.fillStyle = pending ? "#4a4f55" : colourOf(worst);
      context.fillRect(this.x(frame) - step / 2, STRIP, Math.max(step - (step > 4 ? 1 : 0), 1), STRIP_HEIGHT);
    }
  }

  // Where at least one shape lives and is seen.
  drawLife(shown) {
    const { context } = this, { shapes } = this.desk, { first, last } = shapes.shot;
    const step = (this.width - 2 * MARGIN) / (last - first + 1);
    const [from, to] = this.life ?? [null, null];
    for (let frame = first; frame <= last; frame += 1) {
      const seen = this.life ? frame >= (from ?? first) && frame <= (to ?? last) : shown.some((shape) => shapes.alive(shape, frame));
      context.fillStyle = seen ? "#7d93b0" : "#2a2d30";
      context.fillRect(this.x(frame) - step / 2, LIFE, step + 0.5, LIFE_HEIGHT);
    }
  }

  drawDiamonds(shown) {
    const { context } = this, { shapes } = this.desk, { first, last } = shapes.shot;
    const step = (this.width - 2 * MARGIN) / (last - first + 1);
    const small = Math.min(3.5, Math.max(step * 0.4, 1.2));
    context.lineWidth = 1;
    for (let frame = first; frame <= last; frame += 1) {
      const states = shown.map((shape) => shapes.state(shape.id, frame));
      const x = this.x(frame);
      if (states.includes(KEY)) continue;
      if (states.includes(ACCEPTED)) {
        context.fillStyle = "#4caf6d";
        diamond(context, x, DIAMONDS, Math.min(small + 0.8, 4));
        context.fill();
      } else if (states.some((state) => state === PREDICTED || state === ROUGH || state === PENDING)) {
        context.strokeStyle = states.includes(PREDICTED) ? "#cfd4d9" : "#6b7075";
        diamond(context, x, DIAMONDS, small);
        context.stroke();
      }
    }
    const keys = new Set(shown.flatMap((shape) => shape.keys));
    for (const key of keys) {
      const x = this.x(this.moving?.from === key ? this.moving.to : key);
      const all = shown.every((shape) => shape.keys.includes(key));
      context.fillStyle = all ? "#f5b942" : "#b8892f";
      diamond(context, x, DIAMONDS, 6.5);
      context.fill();
      context.strokeStyle = "#000";
      context.stroke();
    }
    const suggested = worstOf(shown.map((shape) => shape.suggested).filter((frame) => frame !== null), shapes, shown);
    if (suggested !== null) {
      const x = this.x(suggested);
      context.fillStyle = "#e5534b";
      context.beginPath();
      context.moveTo(x - 5, RULER + 2);
      context.lineTo(x + 5, RULER + 2);
      context.lineTo(x, RULER + 10);
      context.fill();
    }
  }
}

// Green where sure, through yellow, to red; told apart by brightness too.
export function colourOf(confidence) {
  const hue = 5 + 120 * Math.min(Math.max(confidence, 0), 1);
  return `hsl(${hue} 62% ${38 + 18 * (1 - confidence)}%)`;
}

function diamond(context, x, y, r) {
  context.beginPath();
  context.moveTo(x, y - r);
  context.lineTo(x + r, y);
  context.lineTo(x, y + r);
  context.lineTo(x - r, y);
  context.closePath();
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}
