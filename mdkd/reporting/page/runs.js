// Views of runs: the table of all of them, and learning curves.

const FIELDS = [ // of a run, besides its metrics
  { name: "method", value: (run) => groupOf(run).label, isHeader: true, choose: true },
  { name: "data set", value: (run) => groupOf(run).dataset, choose: true },
  { name: "teacher", value: (run) => groupOf(run).teacher, choose: true },
  { name: "student", value: (run) => groupOf(run).student, choose: true },
  { name: "variant", value: (run) => groupOf(run).variant },
  { name: "seed", value: (run) => run.seed, number: true, ofRun: true, choose: true },
  { name: "protocol", value: (run) => run.protocol, ofRun: true, choose: true },
  { name: "epochs", value: (run) => run.epochs, number: true },
  { name: "time", value: (run) => run.seconds, show: (run) => time(run.seconds), number: true,
    note: "Other jobs on the machine affect it. Do not rank methods by it." },
  { name: "images/s", value: (run) => run.speed, show: (run) => short(run.speed), number: true,
    note: "Images in a second of training. Other jobs on the machine affect it." },
  { name: "memory", value: (run) => run.memory, show: (run) => `${run.memory} MB`, number: true,
    note: "The most memory that was used at a time." },
  { name: "device", value: (run) => run.device, choose: true },
  { name: "processor", value: (run) => run.cpu, ofRun: true },
  { name: "revision", value: (run) => run.revision, ofRun: true, note: "The commit of the code; +: it had local changes." },
];
const HIDDEN = ["memory", "processor", "revision", "OF1_top3", "CF1_top3"]; // if nothing is chosen
const ALWAYS = ["method"];

const metricColumns = (of) => METRICS.map((name, m) => ({
  name, number: true, note: DATA.metrics[m].note, ...of(m),
}));

// Fields that have one value in all runs are said once, above the table.
function isConstant(field) {
  return DATA.runs.length > 1 && !ALWAYS.includes(field.name) &&
    new Set(DATA.runs.map((run) => field.value(run))).size === 1;
}

function hiddenColumns() {
  if ("hide" in state) return new Set(state.hide.split(",").filter((name) => name !== "none"));
  return new Set([...HIDDEN, ...FIELDS.filter(isConstant).map((field) => field.name)]);
}

// The runs that match the text and all drop-downs.
function filteredRuns() {
  const words = (state.find || "").toLowerCase().split(/\s+/).filter(Boolean);
  return DATA.runs.filter((run) => {
    const values = FIELDS.map((field) => String(field.value(run) ?? ""));
    const text = [...values, run.path].join(" ").toLowerCase();
    const isChosen = FIELDS.every((field, i) => {
      const wanted = field.choose ? state[`is-${field.name}`] : "";
      return !wanted || wanted === (values[i] || GAP);
    });
    return isChosen && words.every((word) => text.includes(word));
  });
}

let typing = 0; // a timer: the table is drawn when the typing pauses

function filters() {
  const find = make("input", {
    type: "search", value: state.find || "", placeholder: "words, such as mdkd seed0", "data-key": "find",
    input: (event) => {
      const find = event.target.value;
      clearTimeout(typing);
      typing = setTimeout(() => change({ find }), 150);
    },
  });
  const choices = FIELDS.filter((field) => field.choose).map((field) => {
    const values = [...new Set(DATA.runs.map((run) => String(field.value(run) ?? "") || GAP))];
    values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const key = `is-${field.name}`;
    return values.length > 1 || state[key]
      ? choice(key, field.name, [["", "all"], ...values.map((value) => [value, value])], state[key] || "")
      : null;
  });
  return make("div", { class: "controls" },
    make("label", { class: "field" }, "find", find), choices, tick("means", "means over seeds"));
}

function columnChoice(names) {
  const hidden = hiddenColumns();
  const boxes = names.filter((name) => !ALWAYS.includes(name)).map((name) => {
    const changed = (event) => {
      const now = new Set(hidden);
      if (event.target.checked) now.delete(name);
      else now.add(name);
      change({ hide: [...now].join(",") || "none" });
    };
    const box = { type: "checkbox", checked: !hidden.has(name), change: changed, "data-key": `column-${name}` };
    return make("label", { class: "check" }, make("input", box), name);
  });
  return make("details", { open: state.columns === "1", toggle: keepOpen("columns") },
    make("summary", { "data-key": "columns" }, "Columns"), make("div", { class: "choices" }, boxes));
}

function runsView() {
  const runs = filteredRuns(), selected = selectedRuns(), hidden = hiddenColumns();
  const isMeans = isTicked("means");
  const facts = FIELDS.filter(isConstant).map((field) => `${field.name} ${(field.show || field.value)(DATA.runs[0]) || GAP}`);
  const numberOf = new Map(DATA.runs.map((run, i) => [run, i]));
  let rows, columns;
  if (isMeans) { // a group is shown if one of its runs is; its means are those of all its runs
    rows = [...new Set(runs.map((run) => run.group))].map((number) => DATA.groups[number]);
    const ofFirst = (field) => ({
      ...field, value: (group) => field.value(DATA.runs[group.runs[0]]),
      show: field.show && ((group) => field.show(DATA.runs[group.runs[0]])),
    });
    const ofTimes = (group, key) => {
      const values = group.runs.map((run) => DATA.runs[run][key]);
      return values.reduce((sum, value) => sum + value, 0) / values.length;
    };
    const means = { time: ["seconds", time], "images/s": ["speed", short], memory: ["memory", (v) => `${v.toFixed(0)} MB`] };
    const fields = FIELDS.filter((field) => !field.ofRun).map((field) => {
      if (!(field.name in means)) return ofFirst(field);
      const [key, print] = means[field.name];
      return { ...field, value: (group) => ofTimes(group, key), show: (group) => print(ofTimes(group, key)) };
    });
    columns = [...fields.slice(0, 5), { name: "seeds", number: true, value: (group) => group.runs.length },
      ...metricColumns((m) => ({ value: (group) => group.mean[m], show: (group) => withSpread(group.mean[m], group.sd[m]) })),
      ...fields.slice(5)];
  } else {
    rows = runs;
    columns = [...FIELDS.slice(0, 7),
      ...metricColumns((m) => ({ value: (run) => run.values[m], show: (run) => percent(run.values[m]) })),
      ...FIELDS.slice(7)];
  }
  const of = (row) => (isMeans ? row.runs : [numberOf.get(row)]);
  const box = {
    name: "select", fixed: true, value: () => 0,
    show: (row) => selector(of(row), selected, isMeans ? `${row.label}, ${row.student}` : row.path),
  };
  const shown = [box, ...columns.filter((column) => ALWAYS.includes(column.name) || !hidden.has(column.name))];
  const all = runs.map((run) => numberOf.get(run));
  const count = isMeans ? `${rows.length} methods, ${runs.length} runs` : `${runs.length} of ${DATA.runs.length} runs`;
  return [
    filters(),
    make("p", { id: "count", "aria-live": "polite" }, `${count}; ${selected.size} selected. `,
      make("button", { type: "button", click: () => select(all, true), "data-key": "all" }, "Select all shown"), " ",
      make("button", { type: "button", click: () => change({ rows: "" }), "data-key": "clear" }, "Clear selection")),
    facts.length ? make("p", { class: "soft" }, `The same for all runs: ${facts.join(", ")}.`) : null,
    columnChoice(columns.map((column) => column.name)),
    table("Runs", rows, shown, "sort"),
    make("p", { class: "soft" }, "Selected rows are shown under Learning curves and Labels. Metrics are " +
      "percentages on the test images after the last epoch; means have ± the standard deviation over seeds."),
  ];
}

// ---- learning curves ------------------------------------------------------------------------------

function curvesView() {
  const pair = currentPair();
  const selected = selectedRuns();
  const runs = selected.size ? [...selected].sort((a, b) => a - b)
    : shownGroups(pair).flatMap((number) => DATA.groups[number].runs);
  const groups = [...new Set(runs.map((run) => DATA.runs[run].group))];
  const looks = looksOf(groups);
  const nameOf = (number) => {
    if (number === pair.teacher || pair.members.includes(number)) return nameInPair(pair, number);
    const group = DATA.groups[number];
    return `${group.dataset}, ${group.teacher ? `${group.teacher} → ` : ""}${group.student}, ${group.label}`;
  };
  const kind = state.curves === "gradient_ratios" ? "gradient_ratios" : "losses";
  const there = runs.filter((run) => DATA.curves[run]);
  const lines = (of) => there.filter((run) => of(DATA.curves[run])).map((run) => ({
    name: `${nameOf(DATA.runs[run].group)}, seed ${DATA.runs[run].seed}`,
    look: looks.get(DATA.runs[run].group), x: DATA.curves[run].epochs, y: of(DATA.curves[run]),
  }));
  const charts = [];
  const validation = lines((curves) => curves.val);
  if (validation.length) {
    charts.push(lineChart("mAP on the validation split, %", validation, { print: plain, axis: "epoch" }));
  }
  const terms = [...new Set(there.flatMap((run) => Object.keys(DATA.curves[run][kind])))];
  for (const term of terms) {
    const title = kind === "losses" ? `loss term ${term}` : `gradient of ${term} relative to the supervised loss`;
    const options = { print: short, axis: "epoch", logarithmic: isTicked("log") };
    charts.push(lineChart(title, lines((curves) => curves[kind][term]), options));
  }
  const lacking = runs.length - there.length;
  return [
    make("div", { class: "controls" }, pairChoice(),
      choice("curves", "Show", [["losses", "loss terms"], ["gradient_ratios", "gradients of the terms"]], kind),
      tick("log", "logarithmic")),
    methodChoice(pair),
    make("div", { id: "legend" }, legend(groups.map((number) => [nameOf(number), looks.get(number), true]))),
    lacking ? make("p", { class: "soft" }, `The curves of ${lacking} runs were not kept.`) : null,
    charts.length ? make("div", { class: "charts" }, charts) : make("p", {}, "There is no curve to show."),
    make("p", { class: "soft" }, "One line for each seed. Loss terms are means over an epoch, with their weight. " +
      "Losses of different methods are different quantities: do not rank methods by them."),
  ];
}
