// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

import { h, startTips } from "./dom.js";
import { timeSection } from "./time.js";
import { runsSection } from "./runs.js";
import { matrixSection } from "./matrix.js";
import { latencySection } from "./latency.js";
import { phasesSection } from "./phases.js";
import { walkSection } from "./walk.js";
import { calibrationSection } from "./calibration.js";
import { findingsSection } from "./findings.js";
import { spreadsSection } from "./spreads.js";
import { tableSection } from "./statistics.js";

const data = JSON.parse(document.getElementById("data").textContent);
const places = new Map(data.table.names.map((name, n) => [name, n]));
data.cases.forEach((each, n) => {
  each.number = n;
  each.has = (name) => (data.table.values[n][places.get(name)] ?? null) !== null;
  each.is = (name) => data.table.values[n][places.get(name)] ?? 0;
});

function themeSwitch() {
  const themes = ["auto", "light", "dark"];
  const kept = () => {
    try {
      return localStorage.getItem("nestwalk-theme");
    } catch {
      return null; // where pages of files have no storage
    }
  };
  const button = h("button", { type: "button", class: "theme" });
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = { auto: "◐ auto", light: "☀ light", dark: "☾ dark" }[theme];
    button.setAttribute("aria-label", `colours: ${theme}; change`);
    button.onclick = () => {
      const next = themes[(themes.indexOf(theme) + 1) % themes.length];
      try {
        localStorage.setItem("nestwalk-theme", next);
      } catch {
        // it lasts as long as the page
      }
      set(next);
    };
  };
  set(themes.includes(kept()) ? kept() : "auto");
  return button;
}

function headline() {
  if (data.verdict.length === 1) return [h("h1", null, data.verdict[0])];
  const titles = [...new Set(data.cases.map((each) => each.summary.title))];
  if (titles.length === 0) return [h("h1", null, "nestwalk report")];
  const first = data.cases.length === 1 ? titles[0] : `${data.cases.length} runs`;
  const lines = data.verdict.map((each) => h("li", null, each));
  return [h("h1", null, first), lines.length ? h("ul", { class: "verdicts" }, lines) : null];
}

const incomplete = data.cases.filter((each) => !each.complete);
const sections = [
  ...(data.cases.length ? [timeSection, matrixSection] : []),
  walkSection,
  ...(data.cases.length ? [latencySection, phasesSection] : []),
  spreadsSection,
  calibrationSection,
  findingsSection,
  ...(data.cases.length ? [runsSection, tableSection] : []),
]
  .map((make) => make(data))
  .filter((each) => each !== null);

document.title = (data.verdict[0] ?? data.cases[0]?.summary.title ?? "report") + " – nestwalk";
document.getElementById("page").append(
  h("a", { class: "skip", href: "#" + sections[0].id }, "to the charts"),
  h(
    "header",
    null,
    h(
      "div",
      { class: "bar" },
      h("span", { class: "brand" }, "nestwalk"),
      h(
        "nav",
        { "aria-label": "sections" },
        sections.map((each) =>
          h("a", { href: "#" + each.id }, each.querySelector("h2").textContent),
        ),
      ),
      themeSwitch(),
    ),
    headline(),
    incomplete.map((each) =>
      h(
        "p",
        { class: "incomplete", role: "alert" },
        h("strong", null, each.name + ": "),
        each.summary.incomplete,
      ),
    ),
  ),
  h("main", null, sections),
  h("footer", null, `Made by nestwalk ${data.program}`,
    data.cases.length === 0 ? "." : data.cases.length === 1 ? " of 1 run." : ` of ${data.cases.length} runs.`),
);
startTips();
