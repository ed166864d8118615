// Pictures as SVG from numbers; their colours are the style sheet's.

import { el, few, svg } from "./dom.js";

const COARSE = 100; // pixels a side below which they are shown as squares

/** A picture with a name and a description for those who cannot see it. */
export function picture(width, height, title, description, ...parts) {
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title },
    svg("desc", {}, description),
    parts,
  );
}

const place = (value) => Math.round(10 * value) / 10;

export const line = (kind, x1, y1, x2, y2) =>
  svg("line", { class: kind, x1: place(x1), y1: place(y1), x2: place(x2), y2: place(y2) });

export const words = (x, y, said, anchor = "middle", kind = "tick") =>
  svg("text", { x: place(x), y: place(y), "text-anchor": anchor, class: kind }, said);

export const rect = (kind, x, y, width, height) =>
  svg("rect", {
    class: kind,
    x: place(x),
    y: place(y),
    width: place(Math.max(width, 0)),
    height: place(Math.max(height, 0)),
  });

/** The path through points. */
export const curvePath = (points) => points.map(([x, y], k) => `${k ? "L" : "M"}${place(x)},${place(y)}`).join("");

/** Round numbers within [low, high]. */
export function ticks(low, high, most = 5) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((m) => m * power).find((each) => each >= rough);
  const first = Math.ceil(low / size - 1e-9);
  const last = Math.floor(high / size + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, k) => (first + k) * size);
}

/** A rectangle of a picture, and the numbers at its edges. */
export class Frame {
  constructor({ left, top, right, bottom, x = [0, 1], y = [0, 1] }) {
    Object.assign(this, { left, top, right, bottom, x, y });
  }

  across(value) {
    return this.left + ((this.right - this.left) * (value - this.x[0])) / (this.x[1] - this.x[0] || 1);
  }

  up(value) {
    return this.bottom - ((this.bottom - this.top) * (value - this.y[0])) / (this.y[1] - this.y[0] || 1);
  }

  point(x, y) {
    return [this.across(x), this.up(y)];
  }

  /** Quiet lines and the numbers beside them. */
  grid(xs, ys, show = few) {
    return [
      ...ys.flatMap((value) => [
        line("grid", this.left, this.up(value), this.right, this.up(value)),
        words(this.left - 6, this.up(value) + 4, show(value), "end"),
      ]),
      ...xs.flatMap((value) => [
        line("grid", this.across(value), this.top, this.across(value), this.bottom),
        words(this.across(value), this.bottom + 16, show(value)),
      ]),
    ];
  }

  axisName(said) {
    return words((this.left + this.right) / 2, this.bottom + 36, said, "middle", "label");
  }

  sideName(said, x = 12) {
    const y = (this.top + this.bottom) / 2;
    const text = words(x, y, said, "middle", "label");
    text.setAttribute("transform", `rotate(-90 ${x} ${place(y)})`);
    return text;
  }
}

const hundredths = (value) => few(100 * value);
const FIFTHS = [0, 0.2, 0.4, 0.6, 0.8, 1];

/** How often what was said came true, by what was said; below it how many rows were told so. bins: of the facts. */
export function reliability(bins, title, description, axes) {
  const frame = new Frame({ left: 46, top: 10, right: 346, bottom: 266 });
  const base = 368;
  const most = Math.max(1, ...bins.map((bin) => bin.rows));
  const parts = bins.flatMap((bin) => {
    const [x, y] = frame.point(bin.probability, bin.observed);
    const kind = bin.verdict === "fits" ? "fits" : "off";
    const [low, high] = [frame.up(bin.low), frame.up(bin.high)];
    const point =
      kind === "fits"
        ? svg("circle", { class: "point fits", cx: place(x), cy: place(y), r: 4.5 })
        : svg("path", { class: "point off", d: `M${place(x)},${place(y - 6.5)}l6.5,6.5l-6.5,6.5l-6.5,-6.5z` });
    const height = Math.max((36 * bin.rows) / most, 1);
    const [left, right] = [frame.across(bin.from) + 2, frame.across(bin.to) - 2];
    return [
      line(`whisker ${kind}`, x, low, x, high),
      ...[low, high].map((end) => line(`whisker ${kind}`, x - 4, end, x + 4, end)),
      point,
      rect("count", left, base - height, right - left, height),
      words((left + right) / 2, base - height - 4, String(bin.rows), "middle", "small"),
    ];
  });
  return picture(
    360,
    390,
    title,
    description,
    frame.grid(FIFTHS, FIFTHS, hundredths),
    line("ideal", ...frame.point(0, 0), ...frame.point(1, 1)),
    parts,
    line("axis", frame.left, base, frame.right, base),
    frame.axisName(axes[0]),
    words(196, base + 16, axes[2], "middle", "label"),
    frame.sideName(axes[1], 14),
  );
}

/** A small bar of an interval on a scale from 0 to 1, decoration beside the numbers that it repeats. */
export function span(low, value, high, mark = null) {
  return svg(
    "svg",
    { class: "span", viewBox: "-4 0 108 10", "aria-hidden": "true" },
    line("track", 0, 5, 100, 5),
    line("reach", 100 * low, 5, 100 * high, 5),
    mark === null ? null : line("mark", 100 * mark, 0, 100 * mark, 10),
    svg("circle", { class: "dot", cx: place(100 * value), cy: 5, r: 3 }),
  );
}

/** A hundred dots, ten a row: `filled` are full, the others rings. */
export function hundred(filled, title) {
  const dots = Array.from({ length: 100 }, (_, k) =>
    svg("circle", { class: k < filled ? "yes" : "no", cx: 10 * (k % 10) + 5, cy: 10 * Math.floor(k / 10) + 5, r: 3.6 }),
  );
  return svg("svg", { class: "hundred", viewBox: "0 0 100 100", role: "img", "aria-label": title }, dots);
}

/** The bars {share, from, to} of a histogram, places in [0, 1]: decoration above a slider. Their heights are shares by
 * width, so that bins of unequal width do not mislead. */
export function histogram(bars) {
  const tall = bars.map(({ share, from, to }) => share / Math.max(to - from, 1e-9));
  const most = Math.max(...tall, 1e-9);
  const parts = bars.map(({ from, to }, k) => {
    const height = tall[k] ? Math.max((29 * tall[k]) / most, 0.6) : 0;
    const gap = Math.min(0.3, 10 * (to - from));
    return rect("count", 100 * from + gap, 30 - height, 100 * (to - from) - 2 * gap, height);
  });
  return svg(
    "svg",
    { class: "histogram", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
    parts,
  );
}

/** An image, pale, under what each part of it adds: cells of numbers, coloured by sign and size. The image lies in a box
 * of the model's width and height as the service lays it: in the middle, its proportions kept. */
export function heatMap(cells, address, { width, height }, said) {
  const most = Math.max(...cells.flat().map(Math.abs), 1e-12);
  const tiles = cells.flatMap((line, i) =>
    line.map((amount, j) =>
      svg("rect", {
        class: amount > 0 ? "plus" : "less",
        x: j,
        y: i,
        width: 1,
        height: 1,
        "fill-opacity": (0.85 * Math.abs(amount)) / most,
      }),
    ),
  );
  const size = `0 0 ${cells[0].length} ${cells.length}`;
  const node = el(
    "div",
    { class: width < COARSE ? "heat-map coarse" : "heat-map", role: "img", "aria-label": said },
    el("img", { src: address, alt: "" }),
    svg("svg", { viewBox: size, preserveAspectRatio: "none", "aria-hidden": "true" }, tiles),
  );
  node.style.aspectRatio = `${width} / ${height}`;
  return node;
}
