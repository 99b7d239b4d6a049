// Playback at the shot's frame rate; a frame whose picture has not come yet is waited for, never skipped over silently.

export class Player {
  constructor(desk) {
    this.desk = desk;
    this.direction = 0;
  }

  play(direction) {
    const { desk } = this;
    if (!desk.shapes.shot) return;
    const running = this.direction !== 0;
    this.direction = direction;
    this.next = performance.now();
    if (!running) requestAnimationFrame((now) => this.tick(now));
  }

  stop() {
    this.direction = 0;
  }

  tick(now) {
    if (!this.direction) return this.desk.go(this.desk.shapes.frame);
    const { desk } = this, { shot } = desk.shapes;
    const length = shot.last - shot.first + 1, interval = 1000 / shot.rate;
    while (now >= this.next) {
      const frame = shot.first + ((desk.shapes.frame - shot.first + this.direction + length) % length);
      if (!desk.plate.has(frame)) {
        desk.plate.want(frame, this.direction);
        this.next = now + interval / 4;
        break;
      }
      desk.go(frame, { playing: true });
      this.next += interval;
      if (now - this.next > 500) this.next = now;
    }
    requestAnimationFrame((later) => this.tick(later));
  }
}
