// Where the plate lies in the viewer: screen = plate * zoom + offset, all in CSS pixels.

export class View {
  constructor(viewer, canvas) {
    this.viewer = viewer;
    this.canvas = canvas;
    this.zoom = 1;
    this.x = this.y = 0;
    this.touched = false;
  }

  fit(shot) {
    const { clientWidth: width, clientHeight: height } = this.viewer;
    this.zoom = Math.max(0.01, Math.min(width / shot.width, height / shot.height) * 0.96);
    this.x = (width - shot.width * this.zoom) / 2;
    this.y = (height - shot.height * this.zoom) / 2;
    this.touched = false;
    this.place();
  }

  fitBox(box) {
    const { clientWidth: width, clientHeight: height } = this.viewer;
    const wide = Math.max(box.right - box.left, 8), high = Math.max(box.bottom - box.top, 8);
    this.zoom = Math.min(32, 0.6 * Math.min(width / wide, height / high));
    this.x = width / 2 - this.zoom * (box.left + box.right) / 2;
    this.y = height / 2 - this.zoom * (box.top + box.bottom) / 2;
    this.touched = true;
    this.place();
  }

  zoomAt(factor, sx, sy) {
    const zoom = Math.min(64, Math.max(0.02, this.zoom * factor));
    this.x = sx - (sx - this.x) * (zoom / this.zoom);
    this.y = sy - (sy - this.y) * (zoom / this.zoom);
    this.zoom = zoom;
    this.touched = true;
    this.place();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.touched = true;
    this.place();
  }

  place() {
    this.canvas.style.transform = `matrix(${this.zoom}, 0, 0, ${this.zoom}, ${this.x}, ${this.y})`;
    this.canvas.style.imageRendering = this.zoom >= 3 ? "pixelated" : "auto";
  }

  // Plate pixels of a pointer event.
  toPlate(event) {
    const box = this.viewer.getBoundingClientRect();
    return [(event.clientX - box.left - this.x) / this.zoom, (event.clientY - box.top - this.y) / this.zoom];
  }
}
