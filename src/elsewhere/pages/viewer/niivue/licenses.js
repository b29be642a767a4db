// esbuild's list of parts and NiiVue's own licence (its npm package carries none) in; name, version and licence text of
// every package inside the bundle out.
const fs = require("node:fs");
const [parts, own] = process.argv.slice(2);
const output = JSON.parse(fs.readFileSync(parts)).outputs["niivue.js"].inputs;
const inside = Object.entries(output).filter(([, part]) => part.bytesInOutput > 0).map(([path]) => path);
const packages = inside.map((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)).filter(Boolean);
for (const folder of [...new Set(packages.map(([found]) => found))].sort()) {
  const { name, version, license } = JSON.parse(fs.readFileSync(`${folder}/package.json`));
  const file = fs.readdirSync(folder).find((entry) => /^licen[sc]e/i.test(entry));
  const text = fs.readFileSync(file ? `${folder}/${file}` : own, "utf8").replaceAll("\r", "").trim();
  process.stdout.write(`${name} ${version} (${license})\n\n${text}\n\n${"-".repeat(100)}\n\n`);
}
