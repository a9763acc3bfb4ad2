// Charts as SVG: lines, dots with whiskers, and matrices. Sizes are in pixels.

const TICKS = 5;

// Round numbers between low and high.
function ticks(low, high, count = TICKS) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => span / n <= count);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step / 1e6; i++) found.push(i * step);
  return found;
}

function range(values, withZero = false) {
  const there = values.filter(known);
  let low = Math.min(...there), high = Math.max(...there);
  if (withZero) { low = Math.min(low, 0); high = Math.max(high, 0); }
  if (!there.length) return [0, 1];
  const margin = (high - low || Math.abs(high) || 1) * 0.04;
  return [low - margin, high + margin];
}

const scale = ([low, high], from, to) => (value) => from + ((value - low) / (high - low)) * (to - from);

// The width that a chart may have: that of the page, or a part of it.
function room(most) {
  return Math.max(260, Math.min(most, document.getElementById("view").clientWidth - 40));
}

function mark(form, x, y, size, attributes, text) {
  const title = text ? svg("title", {}, text) : null;
  if (form === "circle") return svg("circle", { cx: x, cy: y, r: size, ...attributes }, title);
  if (form === "bar") {
    return svg("rect", { x: x - 1.5, y: y - 2 * size, width: 3, height: 4 * size, ...attributes }, title);
  }
  const s = size * 1.15;
  const points = {
    square: [[-s, -s], [s, -s], [s, s], [-s, s]],
    triangle: [[0, -s * 1.2], [s * 1.15, s], [-s * 1.15, s]],
    diamond: [[0, -s * 1.4], [s * 1.4, 0], [0, s * 1.4], [-s * 1.4, 0]],
  }[form].map(([dx, dy]) => `${(x + dx).toFixed(1)},${(y + dy).toFixed(1)}`).join(" ");
  return svg("polygon", { points, ...attributes }, title);
}

function legend(entries) {
  return make("ul", { class: "legend" }, entries.map(([text, look, isLine]) => {
    const sample = isLine
      ? svg("line", { x1: 1, y1: 7, x2: 27, y2: 7, stroke: look.colour, "stroke-width": 2.5,
        "stroke-dasharray": look.dash })
      : mark(look.mark, 14, 7, 4.5, { fill: look.colour });
    return make("li", {}, svg("svg", { width: 28, height: 14, "aria-hidden": "true" }, sample), text);
  }));
}

// Lines over epochs. Each line: {name, look, x: [...], y: [...]}.
function lineChart(title, lines, { print, axis, logarithmic = false }) {
  const width = room(420), height = 250, left = 52, right = 10, top = 8, bottom = 34;
  const value = (y) => (logarithmic ? (y > 0 ? Math.log10(y) : null) : y);
  const drawn = lines.map((line) => ({ ...line, y: line.y.map((y) => (known(y) ? value(y) : null)) }));
  const spanX = range(drawn.flatMap((line) => line.x)), spanY = range(drawn.flatMap((line) => line.y));
  const x = scale(spanX, left, width - right), y = scale(spanY, height - bottom, top);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": title });
  for (const at of ticks(...spanY)) {
    const text = print(logarithmic ? 10 ** at : at);
    chart.append(
      svg("line", { class: "grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }),
      svg("text", { x: left - 5, y: y(at) + 4, "text-anchor": "end" }, text));
  }
  for (const at of ticks(...spanX).filter(Number.isInteger)) {
    chart.append(svg("text", { x: x(at), y: height - bottom + 15, "text-anchor": "middle" }, String(at)));
  }
  chart.append(svg("text", { class: "soft", x: (left + width - right) / 2, y: height - 3,
    "text-anchor": "middle" }, axis));
  for (const line of drawn) {
    const places = line.x.map((at, i) => [at, line.y[i]]).filter(([, at]) => known(at));
    if (!places.length) continue;
    const path = places.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    const last = line.y[line.y.length - 1];
    const text = known(last) ? `${line.name}: ${print(logarithmic ? 10 ** last : last)} at the end` : line.name;
    const attributes = { d: path, fill: "none", stroke: line.look.colour, "stroke-width": 1.8,
      "stroke-dasharray": line.look.dash, "stroke-linejoin": "round" };
    chart.append(svg("path", attributes, svg("title", {}, text)));
    if (places.length === 1) {
      chart.append(mark("circle", x(places[0][0]), y(places[0][1]), 3, { fill: line.look.colour }, text));
    }
  }
  return make("figure", {}, make("figcaption", {}, title), chart);
}

// One row per name, with dots and whiskers. Each row: {name, dots: [{at, low, high, look, text}]}.
// `lines` are values at which a vertical line stands, with a text.
function dotChart(title, rows, { print, axis, zero = false, lines = [] }) {
  const names = rows.map((row) => row.name);
  const width = room(860);
  const longest = Math.max(0, ...names.map((name) => name.length));
  const left = Math.min(longest * 7 + 12, width * 0.42), right = 16, top = 6, step = 22;
  const most = Math.floor((left - 12) / 7);
  const bottom = 38, height = top + step * rows.length + bottom;
  const all = rows.flatMap((row) => row.dots.flatMap((dot) => [dot.at, dot.low, dot.high]));
  const span = range([...all, ...lines.map((line) => line.at)], zero);
  const x = scale(span, left, width - right);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": title });
  const end = top + step * rows.length;
  for (const at of ticks(...span, width < 450 ? 4 : TICKS)) {
    const style = zero && Math.abs(at) < 1e-9 ? "zero" : "grid";
    chart.append(
      svg("line", { class: style, x1: x(at), x2: x(at), y1: top, y2: end }),
      svg("text", { x: x(at), y: end + 15, "text-anchor": "middle" }, print(at)));
  }
  for (const line of lines) {
    chart.append(svg("line", { x1: x(line.at), x2: x(line.at), y1: top, y2: end, stroke: "currentColor",
      "stroke-width": 1.2, "stroke-dasharray": line.dash }, svg("title", {}, line.text)));
  }
  chart.append(svg("text", { class: "soft", x: (left + width - right) / 2, y: height - 5,
    "text-anchor": "middle" }, axis));
  rows.forEach((row, i) => {
    const y = top + step * (i + 0.5);
    const name = row.name.length > most ? `${row.name.slice(0, most - 1)}…` : row.name;
    chart.append(svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, name, svg("title", {}, row.name)));
    for (const dot of row.dots) {
      if (!known(dot.at)) continue;
      if (known(dot.low)) {
        chart.append(svg("line", { x1: x(dot.low), x2: x(dot.high), y1: y, y2: y,
          stroke: dot.look.colour, "stroke-width": 2 }, svg("title", {}, dot.text)));
      }
      const filled = { fill: dot.hollow ? "var(--ground)" : dot.look.colour, stroke: dot.look.colour,
        "stroke-width": 1.5 };
      chart.append(mark(dot.look.mark, x(dot.at), y, dot.small ? 2.6 : 4.2, filled, dot.text));
    }
  });
  return make("figure", {}, title ? make("figcaption", {}, title) : null, chart);
}

// ---- matrices ------------------------------------------------------------------------------------

// Scales that are read alike with and without colour vision: light to dark, or blue to orange.
const SCALES = {
  one: { light: [[247, 250, 253], [8, 48, 107]], dark: [[32, 40, 49], [158, 214, 255]] },
  two: {
    light: [[8, 81, 156], [247, 247, 247], [166, 84, 0]],
    dark: [[110, 180, 255], [40, 46, 54], [255, 165, 80]],
  },
};

function shade(kind, part) {
  const stops = SCALES[kind][darkScheme.matches ? "dark" : "light"];
  const at = Math.max(0, Math.min(1, part)) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  const mixed = stops[i].map((c, k) => Math.round(c + (at - i) * (stops[i + 1][k] - c)));
  return `rgb(${mixed.join(",")})`;
}

// The lower triangle of a symmetric matrix. `values` are its entries row by row; `span` is [low, high].
function matrixChart(title, labels, values, { kind, span, print, wide }) {
  const width = room(wide), longest = Math.max(...labels.map((label) => label.length));
  const left = Math.min(longest * 6.6 + 8, width * 0.3); // room for the names
  const cell = Math.min(30, (width - left - 4) / labels.length);
  const size = left + cell * labels.length + 4, height = cell * labels.length + left * 0.75 + 14;
  const chart = svg("svg", { viewBox: `0 0 ${size} ${height}`, width: size, role: "img", "aria-label": title });
  const font = `font-size:${Math.max(8, Math.min(12, cell * 0.75)).toFixed(1)}px`;
  const most = Math.floor((left - 8) / 6.6);
  const cut = (label) => (label.length > most + 1 ? `${label.slice(0, most - 1)}…` : label);
  let i = 0;
  labels.forEach((label, k) => {
    chart.append(svg("text", { x: left - 4, y: cell * (k + 0.5) + 4, "text-anchor": "end", style: font }, cut(label)));
    for (let m = 0; m < k; m++, i++) {
      const value = values[i];
      const part = (value - span[0]) / (span[1] - span[0]);
      chart.append(svg("rect", { x: left + cell * m, y: cell * k, width: cell - 0.6, height: cell - 0.6,
        fill: shade(kind, part) }, svg("title", {}, `${label} – ${labels[m]}: ${print(value)}`)));
    }
    const x = left + cell * (k + 0.5), y = cell * labels.length + 8;
    chart.append(svg("text", { x, y, "text-anchor": "end", style: font, transform: `rotate(-50 ${x} ${y})` }, cut(label)));
  });
  const bar = 90, from = size - bar - 44; // in the empty upper triangle
  for (let s = 0; s < 30; s++) {
    chart.append(svg("rect", { x: from + (bar / 30) * s, y: 4, width: bar / 30 + 0.5, height: 9, fill: shade(kind, s / 29) }));
  }
  chart.append(
    svg("text", { x: from, y: 27, "text-anchor": "middle" }, print(span[0])),
    svg("text", { x: from + bar, y: 27, "text-anchor": "middle" }, print(span[1])));
  return make("figure", {}, make("figcaption", {}, title), chart);
}
