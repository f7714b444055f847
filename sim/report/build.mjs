// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// npm ci && node build.mjs: makes report.html, which the program embeds, of src/.
// node build.mjs --check: only says whether it is what src/ makes; 77: esbuild is not installed.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const esbuild = await import("esbuild").catch(() => null);
if (esbuild === null) {
  console.log("report.html is not checked: esbuild is not installed (npm ci in sim/report)");
  process.exit(77);
}

async function bundled(entry) {
  const made = await esbuild.build({
    entryPoints: [here(entry)],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: "es2022",
    charset: "ascii",
    legalComments: "none",
  });
  return made.outputFiles[0].text.trim();
}

const parts = { style: await bundled("src/style.css"), script: await bundled("src/main.js") };
for (const [name, text] of Object.entries(parts)) {
  if (text.toLowerCase().includes("</" + name)) throw new Error(`${name} ends its own element`);
}
const page = readFileSync(here("src/page.html"), "utf8").replace(
  /@(style|script)@/g,
  (_, name) => parts[name],
);
const file = here("report.html");
if (!process.argv.includes("--check")) {
  writeFileSync(file, page);
} else if (readFileSync(file, "utf8") !== page) {
  console.error("report.html is not what src/ makes; write it again: node sim/report/build.mjs");
  process.exit(1);
}
