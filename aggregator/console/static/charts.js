// The two curves, drawn by uPlot: the public benchmark release by release, and epsilon round by round.

import { byId } from "./page.js";

const COLOURS = ["#f0a63c", "#6ea8e5", "#6cc08b", "#b58ae0", "#e07f7f", "#8fa3b3", "#d3c26a"];
const shown = new Map();

export function drawBenchmark({ releases, unit }) {
  const ordered = releases.toReversed();
  const names = [...new Set(ordered.flatMap((one) => Object.keys(one.baselines)))].sort();
  byId("benchmark-unit").textContent = `Mean boundary error in ${unit}; lower is better. Dashed: the classical methods on the same clips.`;
  const series = [
    { label: "fedroto", values: ordered.map((one) => one.error), bold: true },
    ...names.map((name) => ({ label: name, values: ordered.map((one) => one.baselines[name] ?? null) })),
  ];
  draw("benchmark", ordered.map((one) => one.number), series, "release", (value) => `${value.toFixed(3)} %`);
}

// Round by round, where the coordinator measures each: the start of the campaign is round 0.
export function drawRoundErrors({ campaign, releases }) {
  const measured = campaign ? campaign.rounds.filter((one) => one.error !== null) : [];
  byId("benchmark-rounds").hidden = measured.length === 0;
  if (measured.length === 0) return;
  const base = releases.find((one) => one.number === campaign.base_release);
  const numbers = [...(base ? [0] : []), ...measured.map((one) => one.number)];
  const constant = (value) => numbers.map(() => value);
  const series = [
    { label: campaign.name, values: [...(base ? [base.error] : []), ...measured.map((one) => one.error)], bold: true },
    ...Object.entries(base ? base.baselines : {}).sort().map(([label, value]) => ({ label, values: constant(value) })),
  ];
  draw("benchmark-rounds", numbers, series, "round", (value) => `${value.toFixed(3)} %`);
}

export function drawPrivacy({ costs }) {
  const rounds = [...new Set(costs.flatMap((one) => one.points.map(([number]) => number)))].sort((a, b) => a - b);
  const curves = Map.groupBy(costs, (one) => JSON.stringify(one.points)); // tiers of one delta cost the same
  const series = [...curves.values()].map((same) => {
    const known = new Map(same[0].points);
    const label = `${same.length > 1 ? "tiers" : "tier"} ${same.map((one) => one.tier).join(", ")}`;
    return { label, values: rounds.map((number) => known.get(number) ?? null), bold: true };
  });
  draw("privacy", rounds, series, "round", (value) => value.toFixed(3));
}

// Under the pointer's place; without one, where the curve stands now.
const legend = (value, format) => (value === null || value === undefined ? "-" : format(value));

function draw(id, xs, series, across, format) {
  const holder = byId(id);
  const key = JSON.stringify([xs, series, holder.clientWidth]);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  holder.replaceChildren();
  if (!xs.length) return;
  const style = getComputedStyle(document.documentElement);
  const axis = { stroke: style.getPropertyValue("--quiet").trim(), grid: { stroke: style.getPropertyValue("--line").trim(), width: 1 }, ticks: { show: false } };
  const whole = (chart, values) => values.map((value) => (Number.isInteger(value) ? value : ""));
  const pad = xs.length === 1 ? 0.6 : 0.15;
  new uPlot({
    width: holder.clientWidth,
    height: 250,
    cursor: { points: { size: 7 } },
    scales: { x: { time: false, range: [xs[0] - pad, xs.at(-1) + pad] }, y: { range: (chart, low, high) => [0, (high || 1) * 1.1] } },
    axes: [{ ...axis, label: across, size: 24, labelSize: 16, labelGap: 0, values: whole }, { ...axis, size: 44 }],
    series: [
      { label: across },
      ...series.map(({ label, bold, values }, number) => ({
        label, stroke: COLOURS[number % COLOURS.length], width: bold ? 2.5 : 1.3, dash: bold ? undefined : [6, 5],
        points: { show: true, size: bold ? 8 : 4, fill: COLOURS[number % COLOURS.length] }, spanGaps: true,
        value: (chart, value, at, pointed) => legend(pointed === null ? values.findLast((one) => one !== null) : value, format),
      })),
    ],
  }, [xs, ...series.map(({ values }) => values)], holder);
}
