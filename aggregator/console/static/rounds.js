// The campaign: where it stands in one sentence, its numbers, its rounds as a grid, and what happened last.

import { ago, byId, bytes, clock, fill, heading, make, table } from "./page.js";

const STATES = { complete: "complete", running: "running", degraded: "DEGRADED", stopped: "stopped" };

export function drawNow(state) {
  const { campaign } = state;
  const pill = byId("state");
  if (campaign === null) {
    pill.textContent = "no campaign";
    pill.className = "pill stopped";
    byId("headline").textContent = "No campaign has begun yet.";
    return;
  }
  pill.textContent = STATES[campaign.state];
  pill.className = `pill ${campaign.state}`;
  byId("headline").textContent = headline(campaign, state.at);
  const closed = campaign.rounds.filter((one) => one.phase === "closed").length;
  byId("progress").firstElementChild.style.width = `${(100 * closed) / campaign.planned}%`;
  byId("progress").setAttribute("aria-label", `${closed} of ${campaign.planned} rounds closed`);
}

function headline(campaign, now) {
  const last = campaign.rounds.at(-1);
  if (last === undefined) return `${campaign.name}: no round has begun`;
  const sentence = last.sentence.charAt(0).toUpperCase() + last.sentence.slice(1);
  if (["open", "preparing"].includes(last.phase) && campaign.running) {
    const left = last.deadline_at - now;
    return left > 0 ? `${sentence}. ${left < 120 ? `${Math.round(left)} s` : `${Math.round(left / 60)} min`} left.` : `${sentence}.`;
  }
  const told = campaign.gain === null ? `${sentence}.` : `${sentence}. ${campaign.gain}.`;
  return campaign.state === "stopped" ? `${told} Its process is gone; run it again to go on.` : told;
}

export function drawTiles(state) {
  const { campaign, studios, costs, releases } = state;
  const admitted = studios.filter((one) => one.admitted);
  const known = admitted.every((one) => one.online !== null);
  const current = releases.find((one) => one.state === "current");
  const best = current && Object.entries(current.baselines).sort((a, b) => a[1] - b[1])[0];
  const spent = costs.map((one) => one.spent).filter((value) => value !== null);
  const received = campaign ? campaign.rounds.reduce((sum, one) => sum + one.bytes_in, 0) : 0;
  const degraded = campaign ? campaign.rounds.filter((one) => one.phase === "degraded").length : 0;
  const tiles = [
    [known ? `${admitted.filter((one) => one.online).length} of ${admitted.length}` : admitted.length, known ? "studios online" : "studios admitted"],
    [campaign ? `${campaign.rounds.length} of ${campaign.planned}` : "-", degraded ? `rounds begun, ${degraded} DEGRADED` : "rounds begun"],
    [bytes(received), "updates received"],
    [spent.length ? Math.max(...spent).toFixed(2) : campaign ? "..." : "-", "epsilon, most that a shot was charged"],
    [current ? `release ${current.number}` : "none", current ? "is what artists get" : "no release stands"],
    [current ? `${(100 * (1 - current.error / best[1])).toFixed(0)}% less` : "-", current ? `error than ${best[0]}, the best classical method` : "public benchmark"],
  ];
  fill(byId("tiles"), ...tiles.map(([value, text]) => make("div", { className: "tile" }, make("b", {}, value), make("span", {}, text))));
}

export function drawRounds({ campaign }) {
  if (campaign === null) return table(byId("rounds"), [], []);
  const headings = [heading("round"), heading("state"), ...campaign.studios.map((name) => heading(name, "studio")), heading("how it went")];
  return table(byId("rounds"), headings, campaign.rounds.toReversed().map((one) => row(one, campaign.studios)));
}

function row(one, studios) {
  const number = one.attempt > 1 ? `${one.number} (try ${one.attempt})` : one.number;
  const dots = studios.map((name) => {
    const standing = one.standing[name] ?? "waiting";
    const why = one.why[name] ? `: ${one.why[name]}` : "";
    const said = `${name}: ${standing}${why}`;
    return make("td", { className: "standing" }, make("i", { className: `dot ${standing}`, title: said, role: "img", "aria-label": said }));
  });
  const why = one.phase === "degraded" || one.phase === "failed" ? make("div", { className: "quiet" }, one.reason.replace(/^.*?; missing: /, "missing: ")) : null;
  const phase = one.phase === "degraded" ? "DEGRADED" : one.rolled_back ? "rolled back" : one.phase;
  return make("tr", {}, make("td", { className: "number" }, number), make("td", { className: one.rolled_back ? "degraded" : one.phase }, phase), ...dots,
    make("td", {}, one.sentence.replace(/^round \d+: /, ""), why));
}

export function drawFeed({ campaign }) {
  const lines = campaign ? campaign.feed.toReversed() : [];
  if (!lines.length) return fill(byId("feed"), make("li", { className: "quiet" }, "Nothing has happened yet."));
  return fill(byId("feed"), ...lines.map((one) => make("li", {}, make("time", {}, clock(one.at)), make("span", { className: tone(one.event) }, one.text))));
}

function tone(event) {
  if (/degraded|failed|trouble|rejected|refused|lost/.test(event)) return "bad";
  return /closed|complete/.test(event) ? "good" : "";
}

export function drawStudios({ studios, at }) {
  const unknown = studios.some((one) => one.admitted && one.online === null);
  byId("superlink").textContent = unknown ? "The SuperLink does not answer, so nobody knows who is online: fedroto coordinator serve." : "";
  const rows = studios.map((one) => make("tr", { className: one.admitted ? "" : "gone" },
    make("td", {}, make("i", { className: `dot ${one.online ? "on" : "off"}` }), " ", one.name),
    make("td", {}, one.tier),
    make("td", {}, presence(one, at)),
    make("td", { className: "number" }, one.named ? `${one.returned} of ${one.rounds}${one.late ? `, ${one.late} late` : ""}` : "not in this plan"),
    make("td", { className: "number" }, one.epsilon_left === null ? "-" : one.epsilon_left.toFixed(2)),
    make("td", {}, { same: "same", other: make("span", { className: "no" }, "another"), unknown: "not known" }[one.installation])));
  table(byId("studios"), ["studio", "tier", "seen", "updates in time", "epsilon left", "version"].map((text) => heading(text)), rows);
}

function presence(one, now) {
  if (!one.admitted) return "revoked";
  if (one.online === null) return "not known";
  if (one.online) return "online";
  return one.last_seen ? ago(now - one.last_seen) : "never";
}
