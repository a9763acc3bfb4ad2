// Views of the methods of one pair of networks: comparison, labels, dependencies, differences.

// The difference first − second of two members of a pair, by their places; null if no seed is shared.
function difference(pair, first, second) {
  const [i, j] = first < second ? [first, second] : [second, first];
  const found = pair.differences.find((entry) => entry[0] === i && entry[1] === j);
  if (!found) return null;
  const turn = first < second ? 1 : -1;
  return { seeds: found[2], mean: found[3].map((v) => (v === null ? null : turn * v)), half: found[4] };
}

// The last of the wanted numbers that are there, or the last that is there.
const lastOf = (wanted, there) => wanted.filter((n) => there.includes(n)).pop() ?? there[there.length - 1];

const isClear = (mean, half) => known(mean) && known(half) && Math.abs(mean) > half;

function interval(mean, half) {
  if (!known(mean)) return GAP;
  if (!known(half)) return signed(mean);
  return [signed(mean), make("span", { class: "spread" }, ` [${signed(mean - half)}, ${signed(mean + half)}]`)];
}

const ENOUGH = `Intervals need ${DATA.fewest_seeds} shared seeds and are not corrected for the number of comparisons.`;
const INTERVALS = "In brackets: the 95 % confidence interval of the mean of paired differences over the shared seeds " +
  `(Student's t). It tells how far seeds may move the difference, not test images or another teacher. ${ENOUGH}`;

// ---- comparison -----------------------------------------------------------------------------------

function comparisonView() {
  const pair = currentPair(), selected = selectedRuns();
  const isAll = isTicked("every");
  const members = isAll ? pair.members : pair.main;
  const student = pair.members.indexOf(pair.student);
  const rows = (pair.teacher === null ? [] : [pair.teacher]).concat(members).map((number) => {
    const place = pair.members.indexOf(number);
    const toStudent = student < 0 || number === pair.teacher || place === student ? null : difference(pair, place, student);
    return { number, group: DATA.groups[number], name: nameInPair(pair, number), toStudent };
  });
  const ranked = METRICS.map((_, m) => [...new Set(rows.filter((row) => row.number !== pair.teacher)
    .map((row) => row.group.mean[m]))].sort((a, b) => b - a));
  const hidden = new Set(HIDDEN);
  const columns = [
    { name: "select", fixed: true, value: () => 0, show: (row) => selector(row.group.runs, selected, row.name) },
    { name: "method", value: (row) => row.name, isHeader: true },
    { name: "seeds", value: (row) => row.group.runs.length, number: true },
    ...metricColumns((m) => ({ metric: m, value: (row) => row.group.mean[m],
      show: (row) => withSpread(row.group.mean[m], row.group.sd[m]) })).filter((column) => !hidden.has(column.name)),
    { name: "mAP − Student's", value: (row) => row.toStudent && row.toStudent.mean[0], number: true, isGain: true,
      show: (row) => (row.toStudent ? interval(row.toStudent.mean[0], row.toStudent.half && row.toStudent.half[0]) : GAP) },
  ];
  const looks = (row, column) => {
    if (column.isGain && row.toStudent && row.toStudent.half) {
      return isClear(row.toStudent.mean[0], row.toStudent.half[0]) ? "clear" : "";
    }
    if (column.metric === undefined || row.number === pair.teacher) return "";
    return ["best", "second"][ranked[column.metric].indexOf(row.group.mean[column.metric])] || "";
  };
  const m = Math.max(0, METRICS.indexOf(state.metric));
  const [first, second] = [style(0), style(1)];
  const chart = dotChart(`${METRICS[m]} of every run (circles) and means (bars)`, sorted(rows, columns, "by").map((row) => ({
    name: row.name,
    dots: [
      ...row.group.runs.map((run) => ({ at: DATA.runs[run].values[m], look: first, small: true, hollow: true,
        text: `${row.name}, seed ${DATA.runs[run].seed}: ${percent(DATA.runs[run].values[m])}` })),
      { at: row.group.mean[m], look: { ...second, mark: "bar" }, text: `${row.name}, mean: ${percent(row.group.mean[m])}` },
    ],
  })), { print: plain, axis: `${METRICS[m]}, %` });
  const notes = new Map(); // a rule, and the metrics that follow it
  for (const { name, note } of DATA.metrics) {
    if (note && !hidden.has(name)) notes.set(note, [...(notes.get(note) || []), name]);
  }
  return [
    make("div", { class: "controls" }, pairChoice(),
      pair.members.length > pair.main.length ? tick("every", `all ${pair.members.length} methods and settings`) : null,
      choice("metric", "Metric of the chart", METRICS.map((name) => [name, name]), METRICS[m])),
    table(`Comparison, ${pair.label}`, rows, columns, "by", {
      looks, rule: (row) => row.name !== "Teacher" && row.name !== "Student" && row === rows.find((one) => one.group.teacher),
    }),
    make("p", { class: "soft" }, "Percentages on the test images after the last epoch: mean ± standard deviation over " +
      "seeds. In each column, the best number is bold and the second is underlined. The teacher is not part of this ranking. " +
      `${INTERVALS} A difference is marked where its interval does not contain 0.`),
    chart,
    ...[...notes].map(([note, names]) => make("p", { class: "soft" }, `${names.join(", ")}: ${note}.`)),
  ];
}

// ---- labels ---------------------------------------------------------------------------------------

function labelsView() {
  const pair = currentPair();
  const facts = DATA.datasets[pair.dataset];
  const student = pair.student;
  const shown = shownGroups(pair).filter((number) => number !== student);
  const reference = student === null ? null : DATA.groups[student];
  const positives = facts.dependencies ? facts.dependencies.positives : null;
  const rows = facts.labels.map((label, c) => ({ label, c }));
  const ofGroup = (number) => ({
    name: nameInPair(pair, number), number: true, value: (row) => DATA.groups[number].ap[row.c],
    show: (row) => {
      const own = DATA.groups[number].ap[row.c], base = reference && reference.ap[row.c];
      if (!known(own) || !known(base) || number === student) return percent(own);
      return [percent(own), make("span", { class: "spread" }, ` (${signed(own - base)})`)];
    },
  });
  const columns = [
    { name: "label", value: (row) => row.label, isHeader: true },
    ...(positives ? [{ name: "images", number: true, value: (row) => positives[row.c], note: "test images that have the label" }] : []),
    ...(pair.teacher === null ? [] : [ofGroup(pair.teacher)]),
    ...(reference ? [ofGroup(student)] : []), ...shown.map(ofGroup),
  ];
  const looks = looksOf(shown);
  const grey = { colour: "var(--text)", mark: "square" };
  const chart = dotChart("Average precision of each label (hollow squares: the student without a teacher)", sorted(rows, columns, "label").map((row) => ({
    name: row.label,
    dots: [
      ...(reference ? [{ at: reference.ap[row.c], look: grey, hollow: true, text: `${row.label}, Student: ${percent(reference.ap[row.c])}` }] : []),
      ...shown.map((number) => ({ at: DATA.groups[number].ap[row.c], look: looks.get(number),
        text: `${row.label}, ${nameInPair(pair, number)}: ${percent(DATA.groups[number].ap[row.c])}` })),
    ],
  })), { print: plain, axis: "average precision, %" });
  return [
    make("div", { class: "controls" }, pairChoice()),
    methodChoice(pair),
    legend(shown.map((number) => [nameInPair(pair, number), looks.get(number), false])),
    table(`Labels, ${pair.label}`, rows, columns, "label"),
    make("p", { class: "soft" }, "Means over seeds, percentages. In parentheses: the difference to the student without a " +
      "teacher. The chart has the order of the table."),
    chart,
  ];
}

// ---- dependencies ---------------------------------------------------------------------------------

const MEASURES = {
  psi: { text: "Ψ, the paper's distance: the mean of (p − q)² over the test images; 0 means alike", kind: "one", low: 0 },
  phi: { text: "φ, the correlation of two labels, from −1 to 1", kind: "two" },
};
const thousandth = (value) => minus((value / 1000).toFixed(3));

function dependenciesView() {
  const pair = currentPair();
  const facts = DATA.datasets[pair.dataset].dependencies;
  const controls = [pairChoice()];
  const members = pair.members.filter((number) => DATA.groups[number].matrices);
  if (!facts || !members.length) {
    return [make("div", { class: "controls" }, controls), make("p", {}, "The predictions of these runs were not kept.")];
  }
  const number = members.find((one) => DATA.groups[one].id === state.network) ?? lastOf(pair.main, members);
  const name = nameInPair(pair, number), measure = state.measure === "phi" ? "phi" : "psi";
  const truth = facts.truths.find((one) => one.name === state.truth) || facts.truths[0];
  const taught = pair.teacher === null ? null : DATA.groups[pair.teacher].matrices;
  const own = DATA.groups[number].matrices[measure];
  const labels = facts.labels.map((c) => DATA.datasets[pair.dataset].labels[c]);
  controls.push(
    choice("network", "Method", members.map((one) => [DATA.groups[one].id, nameInPair(pair, one)]), DATA.groups[number].id),
    choice("measure", "Measure", Object.entries(MEASURES).map(([key, one]) => [key, one.text.split(":")[0]]), measure),
    facts.truths.length > 1 ? choice("truth", "True dependencies of", facts.truths.map((one) => [one.name, one.name]), truth.name) : null);
  const minusOwn = (other) => own.map((value, i) => value - other[i]);
  const parts = [["Teacher", taught && taught[measure]], [name, own], [`Truth (${truth.name})`, truth[measure]]].filter((part) => part[1]);
  const gaps = [[`${name} − Teacher`, taught && minusOwn(taught[measure])], [`${name} − true`, minusOwn(truth[measure])]]
    .filter(([, values]) => values);
  // One scale for all that is compared; extremes of a single pair do not set it.
  const reach = (lists) => {
    const sizes = lists.flat().map(Math.abs).sort((a, b) => a - b);
    return Math.max(1, sizes[Math.floor((sizes.length - 1) * 0.98)] || 0);
  };
  const high = reach(parts.map((part) => part[1])), widest = reach(gaps.map((gap) => gap[1]));
  const isOne = MEASURES[measure].kind === "one";
  const draw = ([title, values], kind, span) => matrixChart(title, labels, values, { kind, span, print: thousandth, wide: 440 });
  const mean = (values) => values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
  const pairs = [];
  labels.forEach((label, k) => labels.slice(0, k).forEach((other) => pairs.push({ label, other, i: pairs.length })));
  const column = (title, values) => ({ name: title, number: true, value: (row) => values[row.i], show: (row) => thousandth(values[row.i]) });
  return [
    make("div", { class: "controls" }, controls),
    make("p", {}, `${MEASURES[measure].text}. ${facts.images} test images, means over seeds.`),
    make("div", { class: "charts wide" }, parts.map((part) => draw(part, MEASURES[measure].kind, [isOne ? 0 : -high, high])),
      gaps.map((gap) => draw(gap, "two", [-widest, widest]))),
    ...gaps.map(([title, values]) => make("p", {}, `${title}: mean absolute difference ${thousandth(mean(values))}.`)),
    make("p", { class: "soft" }, "Ψ of probabilities depends mostly on how frequent the two labels are. Numbers beyond the " +
      "ends of a scale have the colour of its end; hold the pointer over a place to read its number."),
    make("details", { open: state.list === "1", toggle: keepOpen("list") },
      make("summary", { "data-key": "list" }, `All ${pairs.length} pairs of labels in numbers`),
      table("Pairs of labels", pairs, [
        { name: "pair", isHeader: true, value: (row) => `${row.label} – ${row.other}` },
        ...[...parts, ...gaps].map(([title, values]) => column(title, values)),
      ], "entry")),
  ];
}

// ---- difference of two methods ----------------------------------------------------------------------

function differenceView() {
  const pair = currentPair(), members = pair.members;
  const place = (id, list) => list.find((i) => DATA.groups[members[i]].id === id);
  const second = place(state.second, pair.references) ?? pair.references[0];
  const others = members.map((_, i) => i).filter((i) => i !== second);
  const first = place(state.first, others) ?? lastOf(pair.main.map((number) => members.indexOf(number)), others);
  const options = (list) => list.map((i) => [DATA.groups[members[i]].id, nameInPair(pair, members[i])]);
  const controls = [pairChoice()];
  if (first === undefined) {
    return [make("div", { class: "controls" }, controls), make("p", {}, "There is only one method yet.")];
  }
  const [a, b] = [first, second].map((i) => nameInPair(pair, members[i]));
  controls.push(choice("first", "Method", options(others), DATA.groups[members[first]].id),
    choice("second", "minus", options(pair.references), DATA.groups[members[second]].id));
  const found = difference(pair, first, second);
  if (!found) {
    return [make("div", { class: "controls" }, controls), make("p", {}, `${a} and ${b} share no seed.`)];
  }
  const half = (i) => (found.half ? found.half[i] : null);
  const [gain, loss] = [{ colour: "var(--gain)", mark: "circle" }, { colour: "var(--loss)", mark: "square" }];
  const dot = (name, i) => {
    const at = found.mean[i], width = half(i);
    const text = known(width) ? `${name}: ${signed(at)} ± ${percent(width)}` : `${name}: ${signed(at)}`;
    return { at, low: known(width) ? at - width : null, high: known(width) ? at + width : null,
      look: at < 0 ? loss : gain, hollow: !isClear(at, width), text };
  };
  const rows = (names, from) => names.map((name, i) => ({ name, i: from + i }))
    .filter((row) => known(found.mean[row.i]));
  const metrics = rows(METRICS, 0), labels = rows(DATA.datasets[pair.dataset].labels, METRICS.length);
  labels.sort((x, y) => found.mean[y.i] - found.mean[x.i]);
  const columns = (what) => [
    { name: what, isHeader: true, value: (row) => row.name },
    { name: `${a} − ${b}`, number: true, value: (row) => found.mean[row.i], show: (row) => signed(found.mean[row.i]) },
    ...(found.half ? [{ name: "95 % interval", number: true, value: (row) => half(row.i),
      show: (row) => `${signed(found.mean[row.i] - half(row.i))} to ${signed(found.mean[row.i] + half(row.i))}` }] : []),
  ];
  const looks = (row) => (isClear(found.mean[row.i], half(row.i)) ? "clear" : "");
  const count = (test) => labels.filter((row) => test(found.mean[row.i])).length;
  const clear = labels.filter((row) => isClear(found.mean[row.i], half(row.i))).length;
  const title = `${a} − ${b}`;
  const seeds = `${found.seeds.length === 1 ? "seed" : "seeds"} ${found.seeds.join(", ")}`;
  return [
    make("div", { class: "controls" }, controls),
    make("p", { id: "verdict" }, `${title}: ${signed(found.mean[0])} mAP` +
      (known(half(0)) ? `, 95 % interval ${signed(found.mean[0] - half(0))} to ${signed(found.mean[0] + half(0))}` : "") +
      `; shared ${seeds}. ${ENOUGH}`),
    make("h2", {}, "Metrics"),
    dotChart("", metrics.map((row) => ({ name: row.name, dots: [dot(row.name, row.i)] })),
      { print: plain, axis: `${title}, percentage points`, zero: true }),
    table(`Metrics, ${title}`, metrics, columns("metric"), "order", { looks }),
    make("h2", {}, "Labels"),
    make("p", {}, `${count((v) => v > 0)} labels gain and ${count((v) => v < 0)} lose` + (found.half ? `; the interval of ${clear} does not contain 0. By chance alone, about ` +
      `${(labels.length * 0.05).toFixed(0)} of ${labels.length} would not.` : ".")),
    dotChart("", labels.map((row) => ({ name: row.name, dots: [dot(row.name, row.i)] })),
      { print: plain, axis: `average precision: ${title}, percentage points`, zero: true }),
    make("p", { class: "soft" }, `Circles: ${a} is better. Squares: ${b} is better. Filled: the interval does not contain 0. ` +
      "Lines are 95 % confidence intervals of the mean of paired differences over the shared seeds (Student's t). They tell " +
      `how far seeds may move a difference, not test images or another teacher. ${ENOUGH}`),
    make("details", { open: state.numbers === "1", toggle: keepOpen("numbers") },
      make("summary", { "data-key": "numbers" }, "The labels in numbers"),
      table(`Labels, ${title}`, labels, columns("label"), "gain", { looks })),
  ];
}
