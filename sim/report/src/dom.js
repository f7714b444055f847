// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined));
  return node;
}

/** An element of HTML. Functions at "on..." listen. */
export function h(name, attributes, ...children) {
  return made(document.createElement(name), attributes, children);
}
/** An element of SVG. */
export function s(name, attributes, ...children) {
  return made(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/** A section with a heading, and a sentence on how to read it. */
export function section(id, title, sentence, ...children) {
  return h(
    "section",
    { id, "aria-labelledby": id + "-title" },
    h("h2", { id: id + "-title" }, title),
    sentence ? h("p", { class: "how" }, sentence) : null,
    ...children,
  );
}

/** Buttons of which one is chosen. `choose` is called with its number, also for the first one. */
export function choice(label, names, choose) {
  if (names.length < 2) {
    choose(0);
    return null;
  }
  const pick = (n) => {
    buttons.forEach((each, at) => each.setAttribute("aria-pressed", String(at === n)));
    choose(n);
  };
  const buttons = names.map((name, n) =>
    h("button", { type: "button", "aria-pressed": String(n === 0), onclick: () => pick(n) }, name),
  );
  choose(0);
  return h("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

/** Draws anew whenever the width of the place changes. */
export function drawn(place, draw) {
  let last = 0;
  new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (width === 0 || width === last) return;
    last = width;
    place.replaceChildren(draw(width));
  }).observe(place);
  return {
    again() {
      if (last !== 0) place.replaceChildren(draw(last));
    },
  };
}

/** A table: heads are texts; rows begin with their head. */
export function table(caption, heads, rows, attributes) {
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      attributes,
      h("caption", { class: "unseen" }, caption),
      h("thead", null, h("tr", null, heads.map((each) => h("th", { scope: "col" }, each)))),
      h(
        "tbody",
        null,
        rows.map(([head, ...cells]) =>
          h("tr", null, h("th", { scope: "row" }, head), cells.map((each) => h("td", null, each))),
        ),
      ),
    ),
  );
}

/** As --statistics has them: '*' is anything, '?' a letter; a word alone is anywhere. */
export function matcher(text) {
  const words = text.trim().split(/\s+/).filter((each) => each !== "");
  const patterns = words.map((word) => {
    const pattern = word
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replace(/\*/g, ".*")
      .replace(/\?/g, ".");
    return new RegExp(/[*?]/.test(word) ? `^${pattern}$` : pattern, "i");
  });
  return (...texts) =>
    patterns.length === 0 || patterns.some((each) => texts.some((text) => each.test(text)));
}

/** Heads of columns that sort rows, which have their first order in `at`. */
export function sorting(changed) {
  let order = { key: (row) => row.at, down: false, head: null };
  return {
    compare(a, b) {
      const [x, y] = [order.key(a), order.key(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a.at - b.at;
      const by = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return (order.down ? -by : by) || a.at - b.at;
    },
    head(text, key, label = text) {
      const th = h("th", { scope: "col" });
      th.append(
        h("button", { type: "button", "aria-label": `sort by ${label}`, onclick: () => {
          const down = order.head === th ? !order.down : false;
          order.head?.removeAttribute("aria-sort");
          order = { key, down, head: th };
          th.setAttribute("aria-sort", down ? "descending" : "ascending");
          changed();
        } }, text),
      );
      return th;
    },
  };
}

const tip = h("div", { id: "tip", role: "tooltip", hidden: true });

function showTip(target) {
  tip.textContent = target.getAttribute("data-tip");
  tip.hidden = false;
  const at = target.getBoundingClientRect();
  const width = tip.offsetWidth;
  const left = Math.min(Math.max(8, at.left + at.width / 2 - width / 2), innerWidth - width - 8);
  const above = at.top - tip.offsetHeight - 8;
  tip.style.left = left + "px";
  tip.style.top = (above < 8 ? at.bottom + 8 : above) + "px";
}

/** Whatever has data-tip shows it when it is pointed at or has the focus. */
export function startTips() {
  document.body.append(tip);
  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const target = event.target.closest?.("[data-tip]");
      if (target) showTip(target);
      else tip.hidden = true;
    });
  }
  document.addEventListener("focusout", () => (tip.hidden = true));
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
  });
}
