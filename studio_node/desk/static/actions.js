// What can be done, by name: buttons and keys call it.

import { boundsOf } from "./curves.js";
import { worstOf } from "./shapes.js";

const FEATHER_STEP = 12;  // screen pixels that one press feathers outwards

export function actionsOf(desk) {
  const { shapes } = desk, { shot, frame } = shapes;
  const tool = (name) => () => desk.setTool(name), method = (name) => () => desk.setMethod(name);
  return {
    back: () => { desk.stop(); desk.go(frame - 1); }, forward: () => { desk.stop(); desk.go(frame + 1); },
    "back-ten": () => desk.go(frame - 10), "forward-ten": () => desk.go(frame + 10),
    first: () => desk.go(shot.first), last: () => desk.go(shot.last),
    "key-before": () => desk.go(desk.keyFrames().filter((key) => key < frame).at(-1) ?? frame),
    "key-after": () => desk.go(desk.keyFrames().find((key) => key > frame) ?? frame),
    play: () => desk.player.play(1), "play-back": () => desk.player.play(-1), stop: () => desk.stop(),
    "toggle-play": () => (desk.player.direction ? desk.stop() : desk.player.play(1)),
    worst: () => desk.go(desk.worstFrames()[0] ?? frame),
    "next-worst": () => {
      const worst = desk.worstFrames(), at = worst.indexOf(frame);
      desk.go(worst.slice(at + 1).find((other) => Math.abs(other - frame) > 3) ?? worst[0] ?? frame);
    },
    suggested: () => {
      const among = shapes.inHand.length ? shapes.inHand : shapes.list;
      desk.go(worstOf(among.map((shape) => shape.suggested).filter((one) => one !== null), shapes, among) ?? frame);
    },
    "zoom-in": () => desk.zoom(1.25), "zoom-out": () => desk.zoom(0.8),
    fit: () => { desk.view.fit(shot); desk.draw(); },
    "fit-selection": () => {
      const box = boundsOf(shapes.held, (id) => shapes.at(id));
      if (box) desk.view.fitBox(box);
      desk.draw();
    },
    overlay: () => { desk.settings.overlay = !desk.settings.overlay; desk.draw(); },
    onion: () => { desk.settings.onion = document.getElementById("onion").checked = !desk.settings.onion; desk.draw(); },
    matte: () => {
      const views = [...document.getElementById("matte").options].map((option) => option.value);
      const next = views[(views.indexOf(desk.settings.matte) + 1) % views.length];
      desk.settings.matte = document.getElementById("matte").value = next;
      desk.draw();
    },
    darker: () => desk.expose(-0.25), brighter: () => desk.expose(0.25),
    model: method("model"), smooth: method("smooth"), track: method("track"), planar: method("planar"), flow: method("flow"),
    swap: () => {
      if (desk.settings.method === "model") desk.setMethod("smooth");
      desk.settings.swapped = !desk.settings.swapped;
      desk.draw();
    },
    select: tool("select"), bezier: tool("bezier"), bspline: tool("bspline"), transform: tool("transform"),
    finish: () => desk.overlay.sketch && desk.pointer.finishSketch(true),
    escape: () => {
      if (desk.overlay.sketch) desk.overlay.sketch = null;
      else if (desk.pointer.act) desk.pointer.cancel();
      else if (desk.timeline.range) desk.timeline.range = null;
      else shapes.points.clear();
      desk.draw();
    },
    "select-all": () => {
      for (const shape of shapes.inHand) {
        shapes.selected.add(shape.id);
        shapes.points.set(shape.id, new Set(Array.from({ length: shape.points }, (_, i) => i)));
      }
      desk.draw();
    },
    delete: () => (desk.chosenPoints.length ? desk.points("remove") : desk.withShapes("delete")),
    "smooth-points": () => desk.points("smooth"), "sharp-points": () => desk.points("sharp"),
    feather: () => desk.feather(FEATHER_STEP / desk.view.zoom), unfeather: () => desk.feather(0),
    see: () => desk.see(), layer: () => desk.layer(),
    key: () => desk.withShapes("key"), unkey: () => desk.withShapes("unkey"),
    accept: () => desk.accept(frame, frame), "accept-range": () => desk.accept(...desk.rangeHere()),
    "accept-shape": () => desk.accept(shot.first, shot.last),
    unaccept: () => (desk.timeline.range ? desk.accept(...desk.rangeHere(), true) : desk.accept(frame, frame, true)),
    undo: () => desk.send({ op: "undo" }), redo: () => desk.send({ op: "redo" }),
    help: () => document.getElementById("help").showModal(),
  };
}
