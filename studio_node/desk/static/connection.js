// One WebSocket. A gesture has at most one request in flight; of what the pointer did meanwhile only the last counts.

import { decode, encode } from "./wire.js";

export class Connection {
  constructor(onMessage, onStatus) {
    this.onMessage = onMessage;
    this.onStatus = onStatus;
    this.sequence = 0;
    this.inFlight = null;
    this.waiting = [];
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/desk`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.onStatus(true);
    this.socket.onmessage = (event) => this.receive(event.data);
    this.socket.onclose = () => {
      this.inFlight = null;
      this.waiting = [];
      this.onStatus(false);
      setTimeout(() => this.open(), 1000);
    };
  }

  get ready() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  send(head, numbers = []) {
    if (this.ready) this.socket.send(encode(head, numbers));
  }

  // A step of a gesture: `moment` is when the pointer moved, for measuring; the last step of a gesture is never dropped.
  gesture(head, numbers, moment) {
    const step = { head, numbers, moment };
    if (this.inFlight === null) return this.launch(step);
    const last = this.waiting.at(-1);
    if (last && !last.head.drop) this.waiting.pop();
    this.waiting.push(step);
  }

  launch(step) {
    if (!this.ready) return;
    this.sequence += 1;
    this.inFlight = { id: this.sequence, moment: step.moment };
    this.socket.send(encode({ ...step.head, id: this.sequence }, step.numbers));
  }

  receive(data) {
    const [head, numbers] = decode(data);
    let moment = null;
    const answers = this.inFlight && head.reply === this.inFlight.id;
    if (answers) moment = this.inFlight.moment;
    this.onMessage(head, numbers, moment);
    if (answers && head.last !== false) {
      this.inFlight = null;
      if (this.waiting.length) this.launch(this.waiting.shift());
    }
  }
}
