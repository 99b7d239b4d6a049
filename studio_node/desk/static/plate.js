// The picture: JPEG proxies fetched ahead of the frame, drawn into one canvas; whole pictures where the proxy is smaller.

const AHEAD = 8, KEPT = 240, AT_ONCE = 4;
const OPENED = Math.round(performance.timeOrigin);  // the browser keeps pictures, but none of an earlier page

export class Plate {
  constructor(canvas, onPicture) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.onPicture = onPicture;
    this.pictures = new Map();  // frame -> ImageBitmap, or null where there is none
    this.whole = new Map();
    this.loading = new Set();
    this.drawn = null;
  }

  begin(shot) {
    this.shot = shot;
    this.canvas.width = shot.width;
    this.canvas.height = shot.height;
  }

  has(frame) {
    return this.pictures.has(frame);
  }

  // Draw a frame if it is there; returns "drawn", "missing" or "loading".
  show(frame) {
    const picture = this.whole.get(frame) ?? this.pictures.get(frame);
    if (picture === undefined) return "loading";
    if (this.drawn === picture && picture !== null) return "drawn";
    this.drawn = picture;
    if (picture === null) {
      this.context.fillStyle = "#202020";
      this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
      return "missing";
    }
    this.context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    return "drawn";
  }

  // Fetch the frame, then those around it in the direction of play.
  want(frame, direction = 1) {
    const wanted = [frame];
    for (let step = 1; step <= AHEAD; step += 1) wanted.push(frame + direction * step);
    for (let step = 1; step <= AHEAD; step += 1) wanted.push(frame - direction * step);
    for (const one of wanted) {
      if (this.loading.size >= AT_ONCE) return;
      if (one < this.shot.first || one > this.shot.last || this.pictures.has(one) || this.loading.has(one)) continue;
      this.load(one);
    }
  }

  async load(frame) {
    this.loading.add(frame);
    const picture = await fetched(`frame/${frame}.jpg?page=${OPENED}`);
    this.loading.delete(frame);
    if (picture === undefined) return;
    this.pictures.set(frame, picture);
    while (this.pictures.size > KEPT) {
      const [oldest, old] = this.pictures.entries().next().value;
      this.pictures.delete(oldest);
      old?.close();
    }
    this.onPicture(frame);
  }

  // The picture at the plate's own size, for looking closely.
  async sharpen(frame) {
    if (this.whole.has(frame) || !this.pictures.get(frame)) return;
    const proxy = this.pictures.get(frame);
    if (proxy.width >= this.shot.width) return;
    const picture = await fetched(`frame/${frame}.jpg?whole=true&page=${OPENED}`);
    if (!picture) return;
    for (const old of this.whole.values()) old.close();
    this.whole.clear();
    this.whole.set(frame, picture);
    this.onPicture(frame);
  }
}

// undefined: try again later; null: there is no picture.
async function fetched(address) {
  try {
    const answer = await fetch(address);
    if (answer.status === 404) return null;
    if (!answer.ok) return undefined;
    return await createImageBitmap(await answer.blob());
  } catch {
    return undefined;
  }
}
