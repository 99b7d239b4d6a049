// Releases with the gates that they passed, what the plans cost, and the commands for what the page itself never does.

import { byId, fill, heading, make, table } from "./page.js";

const opened = new Set();

export function drawReleases({ releases, log }) {
  const parts = releases.map(release);
  if (!parts.length) parts.push(make("p", { className: "quiet" }, "No release is published yet."));
  else parts.push(make("p", { className: "quiet" }, `Log of releases: ${log.entries} ${log.entries === 1 ? "entry" : "entries"}, head ${log.head.slice(0, 16)}; compare it by phone.`));
  const holder = byId("releases");
  const key = JSON.stringify([releases, log]);
  if (holder.dataset.shown === key) return;
  holder.dataset.shown = key;
  holder.replaceChildren(...parts);
}

function release(one) {
  const gates = make("table", { className: "gates" }, ...one.gates.map((gate) => make("tr", {},
    make("td", { className: gate.passed ? "yes" : "no" }, gate.passed ? "passed" : "failed"), make("td", {}, gate.name), make("td", { className: "quiet" }, gate.why))));
  const tiers = Object.entries(one.epsilon).map(([tier, value]) => `${tier} ${value.toFixed(2)}`).join(", ");
  const made = new Date(one.created_at * 1000).toLocaleDateString();
  const shown = make("details", { className: "release" },
    make("summary", {}, make("b", {}, `release ${one.number}`), make("span", { className: `pill ${one.state}` }, one.state),
      make("span", {}, one.made_by, one.reason ? make("div", { className: "withdrawn" }, `withdrawn: ${one.reason}`) : null),
      make("span", { className: "number" }, `${one.error.toFixed(3)} %`)),
    gates,
    make("p", { className: "quiet gates" }, `${one.benchmark}; made ${made}${tiers ? `; epsilon by size tier: ${tiers}` : ""}`));
  shown.open = opened.has(one.number);
  shown.addEventListener("toggle", () => (shown.open ? opened.add(one.number) : opened.delete(one.number)));
  return shown;
}

export function drawCosts({ costs }) {
  const figure = (value) => (value === null ? "being computed" : value.toFixed(3));
  const rows = costs.map((one) => make("tr", {}, make("td", {}, one.tier), make("td", { className: "number" }, figure(one.spent)),
    make("td", { className: "number" }, figure(one.planned)), make("td", { className: "number" }, one.delta.toExponential(0))));
  table(byId("costs"), ["tier", "epsilon so far", "when all rounds are done", "delta"].map((text) => heading(text)), rows);
}

export function drawCommands({ commands }) {
  fill(byId("commands"), ...Object.entries(commands).flatMap(([name, command]) => [
    make("dt", {}, name), make("dd", {}, make("code", {}, command), make("button", { type: "button", "data-copy": command }, "copy"))]));
}

export function listenForCopies() {
  byId("commands").addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (button === null) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  });
}
