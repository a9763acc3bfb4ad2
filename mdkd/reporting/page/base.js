// Data, state, numbers, colours, and elements. The state is in the address behind #, so that a
// view can be kept and sent. Texts become text nodes only: a name is never read as HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const METRICS = DATA.metrics.map((metric) => metric.name);

// Okabe and Ito's colours, which colour-blind readers can tell apart, for both schemes. Lines and
// dots also differ by their form.
const COLOURS = {
  light: ["#0072b2", "#c14a00", "#007a5a", "#a8558a", "#8a6d00", "#3a94c9", "#7a7a7a", "#882255"],
  dark: ["#56b4e9", "#ff9d4d", "#2fc79b", "#e39ac6", "#f0e442", "#b9c4ff", "#a8a8a8", "#ff7f9e"],
};
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const MARKS = ["circle", "square", "triangle", "diamond"];
const SHOWN = 10; // methods that are shown if none is chosen
const GAP = "–";

const darkScheme = window.matchMedia("(prefers-color-scheme: dark)");

function style(i) {
  const colours = darkScheme.matches ? COLOURS.dark : COLOURS.light;
  const turn = Math.floor(i / colours.length);
  return {
    colour: colours[i % colours.length],
    dash: DASHES[(i + turn) % DASHES.length],
    mark: MARKS[(i + turn) % MARKS.length],
  };
}

// Looks by group: networks without a teacher have the colour of the text.
function looksOf(numbers) {
  let methods = 0, others = 0;
  const neutral = () => ({ colour: "var(--text)", dash: DASHES[others++ % DASHES.length], mark: "square" });
  return new Map(numbers.map((n) => [n, DATA.groups[n].teacher ? style(methods++) : neutral()]));
}

// An element with attributes and children. A function as attribute is a listener.
function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// ---- state ------------------------------------------------------------------------------------

function readState() {
  return Object.fromEntries(new URLSearchParams(window.location.hash.slice(1)));
}

let state = readState();

// Change parts of the state and draw again. An empty value is left out of the address.
function change(parts) {
  state = { ...state, ...parts };
  window.location.replace(addressOf(state)); // no entry in the history for every click
  draw();
}

function addressOf(parts) {
  const kept = Object.entries(parts).filter(([, value]) => value !== "" && value !== undefined);
  return "#" + new URLSearchParams(kept).toString();
}

// ---- numbers ----------------------------------------------------------------------------------

const minus = (text) => text.replace("-", "−");
const percent = (value) => (value === null ? GAP : minus((value / 100).toFixed(2)));
const plain = (value) => minus(String(+(value / 100).toFixed(2))); // on an axis
const signed = (value) => (value > 0 ? "+" : "") + percent(value);
const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

function short(value) {
  if (!known(value)) return GAP;
  if (value === 0) return "0";
  const size = Math.abs(value);
  return minus(size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(3)));
}

function time(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  if (seconds < 6000) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// ---- groups and what is selected ----------------------------------------------------------------

const groupOf = (run) => DATA.groups[run.group];

// What a group is called among those of a pair of networks.
function nameInPair(pair, number) {
  if (number === pair.teacher) return "Teacher";
  return number === pair.student ? "Student" : DATA.groups[number].label;
}

function currentPair() {
  return DATA.pairs.find((pair) => pair.id === state.pair) || DATA.pairs[0];
}

// The selected runs, by number. `rows` holds ids of groups (all seeds), or id.seed for one run.
function selectedRuns() {
  const wanted = new Set((state.rows || "").split(",").filter(Boolean));
  const found = new Set();
  DATA.runs.forEach((run, i) => {
    const id = groupOf(run).id;
    if (wanted.has(id) || wanted.has(`${id}.${run.seed}`)) found.add(i);
  });
  return found;
}

function select(runs, on) {
  const selected = selectedRuns();
  for (const run of runs) {
    if (on) selected.add(run);
    else selected.delete(run);
  }
  const words = [];
  for (const group of DATA.groups) {
    const own = group.runs.filter((run) => selected.has(run));
    if (own.length === group.runs.length) words.push(group.id);
    else words.push(...own.map((run) => `${group.id}.${DATA.runs[run].seed}`));
  }
  change({ rows: words.join(",") });
}

// The groups of a pair that are shown: those with a selected run, or the first ones of its table.
function shownGroups(pair) {
  const selected = selectedRuns();
  const own = pair.members.filter((g) => DATA.groups[g].runs.some((run) => selected.has(run)));
  return own.length ? own : pair.main.slice(0, SHOWN);
}

// ---- controls -----------------------------------------------------------------------------------

// A drop-down for one key of the state; options are [value, text].
function choice(key, text, options, current) {
  const list = options.map(([value, label]) =>
    make("option", { value, selected: value === current }, label));
  const changed = (event) => change({ [key]: event.target.value });
  return make("label", { class: "field" }, text,
    make("select", { change: changed, "data-key": key }, list));
}

function tick(key, text, fallback = false) {
  const on = key in state ? state[key] === "1" : fallback;
  const changed = (event) => change({ [key]: event.target.checked ? "1" : "0" });
  return make("label", { class: "check" },
    make("input", { type: "checkbox", checked: on, change: changed, "data-key": key }), text);
}

const isTicked = (key, fallback = false) => (key in state ? state[key] === "1" : fallback);

function pairChoice() {
  const options = DATA.pairs.map((pair) => [pair.id, pair.label]);
  return choice("pair", "Networks", options, currentPair().id);
}

// Check boxes for the groups of a pair, in colours of the charts if they are shown.
function methodChoice(pair) {
  const selected = selectedRuns();
  const box = (number) => {
    const group = DATA.groups[number];
    const on = group.runs.every((run) => selected.has(run));
    const some = !on && group.runs.some((run) => selected.has(run));
    const input = make("input", {
      type: "checkbox", checked: on, "data-key": `box-${group.id}`,
      change: (event) => select(group.runs, event.target.checked),
    });
    input.indeterminate = some;
    return make("label", { class: "check" }, input, nameInPair(pair, number));
  };
  const clear = make("button", { type: "button", click: () => change({ rows: "" }) }, "Clear");
  const text = selected.size ? `Choose methods (${selected.size} runs selected)` : "Choose methods";
  return make("details", { open: state.choose === "1", toggle: keepOpen("choose") },
    make("summary", { "data-key": "choose" }, text),
    make("div", { class: "choices" }, pair.members.map(box)), clear);
}

// Remember whether a <details> is open, without drawing again.
function keepOpen(key) {
  return (event) => {
    const open = event.target.open ? "1" : "";
    if ((state[key] || "") === open) return;
    state[key] = open;
    window.location.replace(addressOf(state));
  };
}
