// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One access step by step, as `nestwalk explain --json` tells it: the two-dimensional grid of the
// entries that its walk read, and each step with its address, its source and its cycles.

import { choice, h, section, table } from "./dom.js";
import { withCommas } from "./format.js";
import { cellsOf, levelsOf, spans } from "./matrix.js";

const classes = {
  "the walk cache": "walk_cache",
  "the nested TLB": "nested_tlb",
  L1: "l1",
  L2: "l2",
  L3: "l3",
  memory: "memory",
};

const isEntry = (step) => step.guest_level !== undefined || step.nested_level !== undefined;
const keyOf = (step) => `${step.guest_level ?? "data"}/${step.nested_level ?? "entry"}`;

function classOf(step) {
  if (step.from in classes) return "from-" + classes[step.from];
  if (step.hit && step.step.includes("walk cache")) return "from-walk_cache";
  return step.hit && step.step === "nested TLB" ? "from-nested_tlb" : "from-none";
}

const servedBy = (step) =>
  step.from?.replace(/^the /, "") ?? (step.hit === undefined ? "–" : step.hit ? "hit" : "miss");

function placeOf(step) {
  if (!isEntry(step)) return step.sentence;
  if (step.nested_level === undefined) return `first stage, guest level ${step.guest_level}`;
  const of = step.guest_level === undefined ? "the data" : `guest level ${step.guest_level}`;
  return `second stage, level ${step.nested_level}, for ${of}`;
}

function meaningOf(step) {
  const change = step.before !== step.value ? `${step.before} → ${step.value}` : step.value;
  return [step.note, change, step.meaning, step.waited].filter(Boolean).join("; ");
}

/** Levels that any walk of the page went through, so that levels that caches skipped are shown. */
function levelsFor(data) {
  const all = new Map(
    data.stories.flatMap((story) => story.steps.filter(isEntry)).map((step) => [keyOf(step), 1]),
  );
  const names = data.table.names.filter((each) => each.startsWith("reference."));
  for (const run of data.cases) for (const key of cellsOf(run, names).keys()) all.set(key, 1);
  return levelsOf(all);
}

function gridOf(levels) {
  const cells = new Map();
  const cellOf = (guest, nested) => {
    if (guest === "data" && nested === "entry") return h("td", { class: "empty" }, "translated");
    const td = h("td", { class: "empty" }, "not read");
    cells.set(`${guest}/${nested}`, td);
    return td;
  };
  const heads = [...levels.nests.map((each) => ["level " + each, spans[each]]), ["guest’s entry", ""]];
  const rows = levels.nests.length ? [...levels.guests, "data"] : levels.guests;
  const grid = h(
    "table",
    { class: "matrix walk-grid" },
    h("caption", { class: "unseen" },
      "Entries read: rows are guest levels, columns are levels of the second stage"),
    h("thead", null, h("tr", null,
      h("th", { scope: "col" }, h("small", null, "guest ↓ second stage →")),
      heads.map(([text, small]) => h("th", { scope: "col" }, text, h("small", null, small))))),
    h("tbody", null, rows.map((guest) =>
      h("tr", null,
        h("th", { scope: "row" }, guest === "data" ? "data" : "level " + guest,
          h("small", null, spans[guest] ?? "its address")),
        [...levels.nests, "entry"].map((nested) => cellOf(guest, nested))))),
  );
  return { grid, cells };
}

function paint(cells, steps, at) {
  const sums = new Map();
  steps.slice(0, at + 1).filter(isEntry).forEach((step) => {
    sums.set(keyOf(step), { step, cycles: (sums.get(keyOf(step))?.cycles ?? 0) + step.cycles });
  });
  const now = at >= 0 && isEntry(steps[at]) ? keyOf(steps[at]) : null;
  const later = new Set(steps.slice(at + 1).filter(isEntry).map(keyOf));
  for (const [key, td] of cells) {
    const read = sums.get(key);
    td.className = read ? "cell " + classOf(read.step) : "empty";
    td.classList.toggle("lit", key === now);
    td.dataset.cycles = read?.cycles ?? "";
    td.replaceChildren(
      ...(read
        ? [h("span", { class: "cycles" }, withCommas(read.cycles)),
           h("span", { class: "share" }, servedBy(read.step))]
        : [later.has(key) ? "later" : "not read"]),
    );
  }
}

const dwell = (step) => 350 + 250 * Math.log10(step.cycles + 1);

function player(story, levels) {
  const { steps } = story;
  const { grid, cells } = gridOf(levels);
  const rows = steps.map((step, n) => [
    n + 1,
    withCommas(step.start - story.begin),
    step.step,
    placeOf(step),
    step.address ?? "–",
    [h("span", { class: "chip " + classOf(step) }), servedBy(step)],
    withCommas(step.cycles),
    meaningOf(step),
  ]);
  const all = table(
    `Steps of access ${story.access}`,
    ["step", "at cycle", "what", "where", "address", "served by", "cycles", "meaning"],
    rows, { class: "numbers steps" },
  );
  all.classList.add("step-list");
  for (const [name, value] of [["tabindex", 0], ["role", "region"], ["aria-label", "all steps"]]) {
    all.setAttribute(name, value);
  }
  const lines = [...all.querySelectorAll("tbody tr")];
  const now = h("p", { class: "now", "aria-live": "polite" });
  const slider = h("input", { type: "range", min: 1, max: Math.max(1, steps.length), value: 1,
    "aria-label": "step of the walk" });
  const play = h("button", { type: "button", class: "play" }, "Play");
  let at = 0;
  let timer = null;
  const show = (next) => {
    at = Math.min(Math.max(next, 0), steps.length - 1);
    paint(cells, steps, at);
    lines.forEach((each, n) => each.classList.toggle("current", n === at));
    if (all.clientHeight < all.scrollHeight && lines[at]) {
      all.scrollTop = lines[at].offsetTop - all.clientHeight / 2;
    }
    slider.value = at + 1;
    const step = steps[at];
    if (!step) return;
    slider.setAttribute("aria-valuetext", `step ${at + 1} of ${steps.length}: ${step.step}`);
    now.replaceChildren(
      h("b", null, `Step ${at + 1} of ${steps.length}: ${step.step}`),
      h("span", { class: "chip " + classOf(step) }),
      `${placeOf(step)}${step.address ? ", address " + step.address : ""}`,
      h("span", null, servedBy(step) === "–" ? "" : `served by: ${servedBy(step)}`),
      h("span", null, `${withCommas(step.cycles)} cycles, from cycle ` +
        `${withCommas(step.start - story.begin)} to ${withCommas(step.start - story.begin + step.cycles)}`),
    );
  };
  const stop = () => {
    clearTimeout(timer);
    timer = null;
    play.textContent = "Play";
    now.setAttribute("aria-live", "polite");
  };
  const go = () => {
    timer = setTimeout(() => {
      show(at + 1);
      if (at + 1 < steps.length && box.isConnected) go();
      else stop();
    }, dwell(steps[at]));
  };
  const toggle = () => {
    if (timer !== null) return stop();
    if (at + 1 >= steps.length) show(0);
    play.textContent = "Pause";
    now.setAttribute("aria-live", "off");
    if (steps.length > 1) go();
    else stop();
  };
  const by = (count) => () => {
    stop();
    show(at + count);
  };
  play.onclick = toggle;
  slider.oninput = () => {
    stop();
    show(slider.value - 1);
  };
  slider.onkeydown = (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    if (!play.hidden) toggle();
  };
  // Nothing moves by itself for a reader who asked for that.
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const heed = () => {
    play.hidden = still.matches;
    if (still.matches) stop();
  };
  still.addEventListener("change", heed);
  heed();
  const causes = Object.entries(story.causes).map(([name, cycles]) =>
    h("li", null, h("b", null, withCommas(cycles)), ` ${name}`));
  const box = h(
    "div",
    { class: "story", "data-access": story.access },
    h("p", null, `vCPU ${story.vcpu}, access ${withCommas(story.access)}: ${story.kind} of ` +
      `${story.address}, `, h("b", null, withCommas(story.cycles) + " cycles"), "."),
    h("ul", { class: "legend", "aria-label": "cycles by cause" }, causes),
    h("div", { class: "player", role: "group", "aria-label": "walk, step by step" },
      h("button", { type: "button", "aria-label": "previous step", onclick: by(-1) }, "◀"),
      play,
      h("button", { type: "button", "aria-label": "next step", onclick: by(1) }, "▶"),
      slider),
    now,
    cells.size ? grid : null,
    all,
  );
  box.stop = stop;
  show(0);
  return box;
}

export function walkSection(data) {
  if (data.stories.length === 0) return null;
  const levels = levelsFor(data);
  const place = h("div");
  let shown = null;
  const pick = (n) => {
    shown?.stop();
    shown = player(data.stories[n], levels);
    place.replaceChildren(shown);
  };
  const few = data.stories.slice(0, 12);
  const names = few.map((story) => {
    const most = Object.entries(story.causes).sort((a, b) => b[1] - a[1])[0]?.[0] ?? "access";
    return `${story.access}: ${withCommas(story.cycles)} cycles, mostly ${most}`;
  });
  const picker = choice("access", names, pick);
  return section(
    "walk",
    "One access, step by step",
    "Each cell of the grid is an entry of a page table, with the cycles to read it and what served " +
      "it. Play, or go by the arrow keys of the slider; its space bar plays and pauses. The table " +
      "has all steps.",
    picker,
    data.stories.length > few.length
      ? h("p", null, `The first ${few.length} of ${data.stories.length} accesses.`) : null,
    place,
  );
}
