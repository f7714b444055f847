// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

import { h, section } from "./dom.js";

function card(run) {
  const { title, settings, lines, incomplete } = run.summary;
  return h(
    "article",
    { class: "card" },
    h("h3", null, run.name),
    incomplete ? h("p", { class: "incomplete" }, incomplete) : null,
    h("p", { class: "title" }, title),
    settings.map((each) => h("p", { class: "setting" }, each)),
    h(
      "dl",
      null,
      lines
        .filter((each) => each.share === undefined)
        .map(({ label, text }) => [h("dt", null, label), h("dd", null, text)]),
    ),
  );
}

export function runsSection(data) {
  return section(
    "runs",
    "Runs",
    "What ran on what, and what mattered, as nestwalk run says it.",
    h("div", { class: "cards" }, data.cases.map(card)),
  );
}
