// SVG paths of Bezier, B-spline and polygon shapes from their controls ([in-tangent, centre, out-tangent] per point).

const text = (value) => value.toFixed(2);

export function pathOf(controls, kind, closed, feather = null) {
  const count = controls.length / 6;
  if (count === 0) return "";
  const centre = (i) => [
    controls[6 * i + 2] + (feather ? feather[6 * i + 2] : 0),
    controls[6 * i + 3] + (feather ? feather[6 * i + 3] : 0),
  ];
  if (kind === "bspline" && count > 2) return bspline(count, centre, closed);
  const [x0, y0] = centre(0);
  let path = `M${text(x0)} ${text(y0)}`;
  for (let step = 1; step < count + (closed ? 1 : 0); step += 1) {
    const a = step - 1, b = step % count;
    const [ax, ay] = centre(a), [bx, by] = centre(b);
    if (kind === "polygon") path += `L${text(bx)} ${text(by)}`;
    else path += `C${text(ax + tangent(controls, feather, 6 * a + 4))} ${text(ay + tangent(controls, feather, 6 * a + 5))} `
      + `${text(bx + tangent(controls, feather, 6 * b))} ${text(by + tangent(controls, feather, 6 * b + 1))} ${text(bx)} ${text(by)}`;
  }
  return closed ? `${path}Z` : path;
}

// The feather curve's tangents are the shape's plus its own.
const tangent = (controls, feather, index) => controls[index] + (feather ? feather[index] : 0);

function bspline(count, centre, closed) {
  const at = (i) => {
    if (closed) return centre((i + count) % count);
    if (i < 0) return reflect(centre(0), centre(1));
    if (i >= count) return reflect(centre(count - 1), centre(count - 2));
    return centre(i);
  };
  let path = "";
  for (let i = 0; i < (closed ? count : count - 1); i += 1) {
    const [p0, p1, p2, p3] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    const mix = (a, b, c, wa, wb, wc) => [(wa * a[0] + wb * b[0] + wc * c[0]) / 6, (wa * a[1] + wb * b[1] + wc * c[1]) / 6];
    const start = mix(p0, p1, p2, 1, 4, 1), end = mix(p1, p2, p3, 1, 4, 1);
    const first = mix(p1, p2, p2, 4, 2, 0), second = mix(p1, p2, p2, 2, 4, 0);
    if (i === 0) path = `M${text(start[0])} ${text(start[1])}`;
    path += `C${text(first[0])} ${text(first[1])} ${text(second[0])} ${text(second[1])} ${text(end[0])} ${text(end[1])}`;
  }
  return closed ? `${path}Z` : path;
}

const reflect = (end, inner) => [2 * end[0] - inner[0], 2 * end[1] - inner[1]];

export function boundsOf(parts, at) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { shape, points } of parts) {
    const controls = at(shape);
    const indices = points ?? Array.from({ length: controls.length / 6 }, (_, i) => i);
    for (const i of indices) {
      left = Math.min(left, controls[6 * i + 2]);
      right = Math.max(right, controls[6 * i + 2]);
      top = Math.min(top, controls[6 * i + 3]);
      bottom = Math.max(bottom, controls[6 * i + 3]);
    }
  }
  return left === Infinity ? null : { left, top, right, bottom };
}

// The segment and the share 0..1 of its parameter nearest to a place, found among even steps.
export function nearestOn(controls, shape, [x, y]) {
  const count = controls.length / 6, steps = 32;
  let best = [0, 0.5], least = Infinity;
  for (let i = 0; i < (shape.closed ? count : count - 1); i += 1) {
    const j = (i + 1) % count;
    const p = [[controls[6 * i + 2], controls[6 * i + 3]], null, null, [controls[6 * j + 2], controls[6 * j + 3]]];
    const straight = shape.kind !== "bezier";
    p[1] = straight ? lerp(p[0], p[3], 1 / 3) : [p[0][0] + controls[6 * i + 4], p[0][1] + controls[6 * i + 5]];
    p[2] = straight ? lerp(p[0], p[3], 2 / 3) : [p[3][0] + controls[6 * j], p[3][1] + controls[6 * j + 1]];
    for (let step = 1; step < steps; step += 1) {
      const u = step / steps, v = 1 - u;
      const at = (axis) => v ** 3 * p[0][axis] + 3 * u * v * v * p[1][axis] + 3 * u * u * v * p[2][axis] + u ** 3 * p[3][axis];
      const away = Math.hypot(at(0) - x, at(1) - y);
      if (away < least) [best, least] = [[i, u], away];
    }
  }
  return best;
}

const lerp = (a, b, u) => [a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1])];
