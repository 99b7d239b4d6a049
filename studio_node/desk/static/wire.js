// The messages of studio_node/desk/wire.py: [uint32 head length][JSON head padded to 4][float32 ...], little-endian.

export function encode(head, numbers = []) {
  let text = new TextEncoder().encode(JSON.stringify(head));
  const padding = (4 - (text.length % 4)) % 4;
  const buffer = new ArrayBuffer(4 + text.length + padding + 4 * numbers.length);
  const bytes = new Uint8Array(buffer);
  new DataView(buffer).setUint32(0, text.length + padding, true);
  bytes.set(text, 4);
  bytes.fill(32, 4 + text.length, 4 + text.length + padding);
  new Float32Array(buffer, 4 + text.length + padding).set(numbers);
  return buffer;
}

export function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return [head, new Float32Array(buffer, 4 + length)];
}
