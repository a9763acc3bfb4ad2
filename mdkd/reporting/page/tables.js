// A table that is sorted by a click on a heading. Its order is a part of the state.
//
// A column: {name, value(row), show(row), number, note, isHeader}. `value` gives what is sorted
// by, null for nothing; `show` gives a text or an element, and may be left out.

function sorted(rows, columns, key) {
  const word = state[key] || "";
  const down = word.startsWith("-");
  const column = columns.find((one) => one.name === word.replace(/^-/, ""));
  if (!column) return rows;
  const turn = down ? -1 : 1;
  const compare = (a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (!known(x) || !known(y)) return known(y) - known(x); // what is missing comes last
    if (typeof x === "number") return turn * (x - y);
    return turn * String(x).localeCompare(String(y), "en", { numeric: true });
  };
  return [...rows].sort(compare); // stable
}

// Show rows in the order of the state under `key`.
function table(name, rows, columns, key, { rule = () => false, looks = () => "" } = {}) {
  const word = state[key] || "";
  const head = columns.map((column) => {
    if (column.fixed) return make("th", { scope: "col" }, make("span", { class: "soft" }, column.name));
    const isBy = word.replace(/^-/, "") === column.name;
    const down = isBy && word.startsWith("-");
    const arrow = isBy ? (down ? " ▼" : " ▲") : "";
    const first = column.number ? `-${column.name}` : column.name; // numbers: the highest first
    const other = column.number ? column.name : `-${column.name}`;
    const next = !isBy ? first : word === first ? other : "";
    const button = make("button", {
      type: "button", title: column.note, click: () => change({ [key]: next }), "data-key": `${key}-${column.name}`,
    }, column.name + arrow);
    const kind = column.isHeader ? "corner" : column.number ? "number" : null;
    return make("th", {
      scope: "col", class: kind,
      "aria-sort": isBy ? (down ? "descending" : "ascending") : null,
    }, button);
  });
  const body = sorted(rows, columns, key).map((row) =>
    make("tr", { class: rule(row) && !word ? "rule" : null }, columns.map((column) => {
      const value = column.show ? column.show(row) : column.value(row);
      const shown = known(value) ? value : GAP;
      const kinds = [column.number ? "number" : "", looks(row, column)].filter(Boolean).join(" ");
      const attributes = column.isHeader ? { scope: "row", title: String(column.value(row)) } : {};
      return make(column.isHeader ? "th" : "td", { class: kinds || null, ...attributes },
        Array.isArray(shown) || shown instanceof Node ? shown : String(shown));
    })));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name },
    make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, body)));
}

// Mean ± standard deviation, the latter in a softer colour.
function withSpread(mean, sd) {
  if (!known(mean)) return GAP;
  return known(sd) ? [percent(mean), make("span", { class: "spread" }, ` ± ${percent(sd)}`)] : percent(mean);
}

// A check box that selects runs.
function selector(runs, selected, text) {
  const count = runs.filter((run) => selected.has(run)).length;
  const input = make("input", {
    type: "checkbox", checked: count === runs.length, "aria-label": `select ${text}`,
    change: (event) => select(runs, event.target.checked), "data-key": `select-${runs[0]}`,
  });
  input.indeterminate = count > 0 && count < runs.length;
  return input;
}
