// Asks for the state every other second and draws it; when the console is gone it says so and keeps what it showed.

import { drawBenchmark, drawPrivacy, drawRoundErrors } from "./charts.js";
import { byId, clock, fill, make } from "./page.js";
import { drawCommands, drawCosts, drawReleases, listenForCopies } from "./releases.js";
import { drawFeed, drawNow, drawRounds, drawStudios, drawTiles } from "./rounds.js";

const PERIOD_MS = 1500;
const DRAWERS = [drawNow, drawTiles, drawRounds, drawFeed, drawRoundErrors, drawBenchmark, drawPrivacy, drawCosts, drawReleases, drawStudios, drawCommands];
let campaign = null;
let state = null;

function draw() {
  document.title = `${state.federation} | fedroto console`;
  byId("federation").textContent = state.federation;
  const many = state.campaigns.length > 0;
  byId("chooser").hidden = !many;
  byId("report").hidden = !many;
  if (many) {
    const chosen = state.campaign.name;
    fill(byId("campaign"), ...state.campaigns.map((name) => make("option", {}, name)));
    byId("campaign").value = chosen;
    byId("report").href = `report.html?campaign=${encodeURIComponent(chosen)}`;
  }
  for (const one of DRAWERS) one(state);
}

async function look() {
  const link = byId("link"), notice = byId("notice");
  try {
    const answer = await fetch(campaign === null ? "state.json" : `state.json?campaign=${encodeURIComponent(campaign)}`);
    const found = await answer.json();
    notice.hidden = answer.ok;
    if (answer.ok) {
      state = found;
      draw();
    } else {
      notice.textContent = `The round state cannot be read: ${found.error}${found.hint ? ` (${found.hint})` : ""}. Below is what was seen last.`;
    }
    link.textContent = `live, ${clock(Date.now() / 1000)}`;
    link.className = "quiet";
  } catch {
    link.textContent = "the console is gone; the federation goes on. Start it again and open its new address";
    link.className = "lost";
  }
}

async function watch() {
  if (!document.hidden) await look();
  setTimeout(watch, PERIOD_MS);
}

byId("campaign").addEventListener("change", (event) => {
  campaign = event.target.value;
  look();
});
addEventListener("resize", () => state && draw());
document.addEventListener("visibilitychange", look);
listenForCopies();
history.replaceState(null, "", location.pathname); // the token leaves the address bar
watch();
