// What the page knows: the shot, the shapes with their courses over every frame, the selection, the view's settings.

export const HELD = 0, PENDING = 1, PREDICTED = 2, ACCEPTED = 3, KEY = 4, ROUGH = 5;
const COLOURS = ["#ff6b5e", "#4fc3f7", "#b3e05a", "#ffb74d", "#ce93d8", "#4db6ac", "#f48fb1", "#fff176", "#90a4f8", "#a1887f"];

export const colourOf = (shape) => COLOURS[shape.id % COLOURS.length];

export class Shapes {
  constructor() {
    this.shot = null;
    this.list = [];
    this.courses = new Map();      // id -> { controls, confidence, states, feather, frames, points }
    this.comparisons = new Map();  // "method id" -> controls
    this.selected = new Set();     // shape ids
    this.points = new Map();       // id -> Set of point indices
    this.frame = null;
    this.left = 0;
    this.undo = this.redo = null;
  }

  take(head, numbers) {
    if (head.op === "state") {
      this.shot = head.shot;
      this.list = head.shapes;
      this.left = head.left;
      this.undo = head.undo;
      this.redo = head.redo;
      this.frame ??= head.shot.first;
      const there = new Set(this.list.map((shape) => shape.id));
      for (const id of this.courses.keys()) if (!there.has(id)) this.courses.delete(id);
      for (const id of this.selected) if (!there.has(id)) this.selected.delete(id);
      for (const id of this.points.keys()) if (!there.has(id)) this.points.delete(id);
    } else if (head.op === "course") {
      const size = head.frames * head.points * 6;
      const at = (start, count) => numbers.subarray(start, start + count);
      this.courses.set(head.shape, {
        frames: head.frames,
        points: head.points,
        controls: at(0, size),
        confidence: at(size, head.frames),
        states: at(size + head.frames, head.frames),
        feather: head.feather ? at(size + 2 * head.frames, size) : null,
        preview: head.preview === true,
      });
      if (!head.preview) for (const key of [...this.comparisons.keys()]) if (key.endsWith(` ${head.shape}`)) this.comparisons.delete(key);
    } else if (head.op === "comparison") {
      this.comparisons.set(`${head.method} ${head.shape}`, numbers);
    }
  }

  find(id) {
    return this.list.find((shape) => shape.id === id);
  }

  row(frame = this.frame) {
    return Math.min(Math.max(frame - this.shot.first, 0), this.shot.last - this.shot.first);
  }

  // [N * 6] numbers of a shape at a frame: in-tangent, centre, out-tangent of each point.
  at(id, frame = this.frame, source = null) {
    const course = this.courses.get(id);
    const size = course.points * 6;
    return (source ?? course.controls).subarray(this.row(frame) * size, (this.row(frame) + 1) * size);
  }

  featherAt(id, frame = this.frame) {
    const course = this.courses.get(id);
    return course.feather ? this.at(id, frame, course.feather) : null;
  }

  state(id, frame = this.frame) {
    return this.courses.get(id)?.states[this.row(frame)] ?? HELD;
  }

  confidence(id, frame = this.frame) {
    return this.courses.get(id)?.confidence[this.row(frame)] ?? 0;
  }

  alive(shape, frame = this.frame) {
    return shape.alive === null || shape.alive[this.row(frame)];
  }

  editable(shape) {
    return shape.shown && !shape.locked && shape.reason === null;
  }

  get chosen() {
    return this.list.filter((shape) => this.selected.has(shape.id));
  }

  // The shapes that a command is about: those selected, or the only one there is.
  get inHand() {
    const chosen = this.chosen;
    return chosen.length || this.list.length !== 1 ? chosen : this.list;
  }

  select(ids, { add = false } = {}) {
    if (!add) {
      this.selected.clear();
      this.points.clear();
    }
    for (const id of ids) this.selected.add(id);
  }

  // What a transform takes hold of: the selected points, or the selected shapes whole.
  get held() {
    const parts = [];
    for (const shape of this.inHand) {
      if (!this.editable(shape) || !this.courses.has(shape.id)) continue;
      const points = this.points.get(shape.id);
      parts.push({ shape: shape.id, points: points?.size ? [...points] : null });
    }
    const some = parts.filter((part) => part.points);
    const count = some.reduce((sum, part) => sum + part.points.length, 0);
    return count > 1 ? some : parts.map((part) => ({ ...part, points: null }));
  }
}

// Of several frames the one where the least sure shape is least sure; null for none.
export function worstOf(frames, shapes, shown) {
  let worst = null, least = Infinity;
  for (const frame of frames) for (const shape of shown) {
    const confidence = shapes.confidence(shape.id, frame);
    if (confidence < least) [worst, least] = [frame, confidence];
  }
  return worst;
}
