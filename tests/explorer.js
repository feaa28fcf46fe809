// Runs what is asked on the laws of docs/explorer/index.html: JSON in, JSON out.
const { readFileSync } = require("fs");
const vm = require("vm");

const page = readFileSync(process.argv[2], "utf8");
const laws = vm.runInThisContext(page.match(/<script id="laws">([^]*?)<\/script>/)[1] + ";laws");
const { questions, words, seed } = JSON.parse(readFileSync(0, "utf8"));

// answers: [all digits, base-10 logarithm] of each question
const answers = questions.map(({ layers, ...question }) => {
  const x = laws.ask(laws.law(layers), question);
  return [laws.text(x), String(laws.log10(x))];
});

// decisions: for each p and list of words, whether a neuron that draws those words is dropped
const decisions = words.map(([p, given]) => {
  let next = 0;
  return laws.draw((into) => into.fill(given[next++]), 1, p);
});

// masks of a seed, one after the other
const fill = laws.seeded(seed);
const masks = [[20, 0.5], [20, 0.5], [40000, 0.1], [1000, 0], [1000, 1]].map(([n, p]) => {
  const mask = new Uint8Array(n);
  const dropped = laws.draw(fill, n, p, mask);
  return { n, p, dropped, kept: mask.reduce((sum, keep) => sum + keep, 0), first: [...mask.subarray(0, 20)].join("") };
});
console.log(JSON.stringify({ answers, decisions, masks }));
