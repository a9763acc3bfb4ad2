// The frame of the page: its heading, the list of views, and drawing.

const VIEWS = {
  comparison: ["Comparison", comparisonView],
  runs: ["Runs", runsView],
  curves: ["Learning curves", curvesView],
  labels: ["Labels", labelsView],
  dependencies: ["Dependencies", dependenciesView],
  difference: ["Difference of two", differenceView],
};

function viewName() {
  return state.view in VIEWS ? state.view : "comparison";
}

// Draw the view of the state. What has the focus keeps it, and tables stay where they were scrolled.
function draw() {
  const view = document.getElementById("view");
  const focus = document.activeElement && document.activeElement.getAttribute("data-key");
  const caret = document.activeElement && document.activeElement.selectionStart;
  const places = [...view.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  const isSame = view.dataset.view === viewName();
  document.getElementById("views").replaceChildren(...Object.entries(VIEWS).map(([name, [text]]) =>
    make("a", { href: addressOf({ ...state, view: name }), "aria-current": name === viewName() ? "page" : null,
      "data-key": `view-${name}` }, text)));
  const isEmpty = !DATA.pairs.length && viewName() !== "runs";
  const parts = isEmpty ? [make("p", {}, "No method is done yet.")] : VIEWS[viewName()][1]();
  view.replaceChildren(...parts.filter(Boolean));
  view.dataset.view = viewName();
  if (isSame) {
    [...view.querySelectorAll(".scroll")].forEach((box, i) => {
      if (places[i]) [box.scrollLeft, box.scrollTop] = places[i];
    });
  }
  const again = focus && document.querySelector(`[data-key="${CSS.escape(focus)}"]`);
  if (again) {
    again.focus({ preventScroll: true });
    if (again.type === "search") again.setSelectionRange(caret, caret);
  }
}

function heading() {
  document.getElementById("title").textContent = `Runs of protocol ${DATA.protocol}`;
  const planned = Object.values(DATA.states).reduce((sum, count) => sum + count, 0);
  const states = Object.entries(DATA.states).map(([name, count]) => `${count} ${name}`);
  document.getElementById("summary").textContent =
    `${DATA.runs.length} runs are shown.` +
    (DATA.unplanned ? ` ${DATA.unplanned} of them have other seeds than planned.` : "") +
    (DATA.validation ? ` ${DATA.validation} more serve only the validation split.` : "") +
    ` All targets together plan ${planned} runs: ${states.join(", ")}.` +
    ` mdkd ${DATA.version}. The address keeps what you choose.`;
}

window.addEventListener("hashchange", () => {
  const next = readState();
  if (addressOf(next) === addressOf(state)) return; // drawn already
  state = next;
  draw();
});
window.addEventListener("resize", draw);
darkScheme.addEventListener("change", draw);
heading();
draw();
