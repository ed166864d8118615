// How far to trust a model: what was measured on rows that it had not seen.

import { bar, el, few, fill, fixed, id, name, percent, plainName, count, svg } from "./dom.js";
import { curvePath, Frame, hundred, picture, reliability, span } from "./charts.js";
import { ask, of } from "./service.js";
import { say, t } from "./texts.js";

const MATRIX = 12; // classes up to which the confusions are a matrix
const SHADES = 10;
const LISTED = 20;

export function draw(main, { model, picker }) {
  const body = el("div", {}, el("p", { class: "quiet", role: "status" }, t("loading")));
  main.append(
    ...[picker].filter(Boolean),
    el("h1", {}, model.label ? say("trust.title", { label: name(model.label, 40) }) : t("trust.title.plain")),
    body,
  );
  let here = true;
  load(model).then(
    (found) => {
      if (here) fill(body, sections(model, ...found));
    },
    (error) => {
      if (here)
        fill(
          body,
          el("p", { class: "warn", role: "alert" }, error.status === 0 ? t("error.away") : name(error.message, 400)),
        );
    },
  );
  return () => {
    here = false;
  };
}

/** The facts of the model and, where it has any, its rows held out. */
const load = (model) =>
  Promise.all([
    ask(of(model.name, "facts")),
    model.measured ? ask(of(model.name, "measured")) : null,
  ]);

const sections = (model, facts, measured) =>
  [
    headline(facts, model, measured),
    facts.rows ? [calibrated(facts), classes(facts), confusions(facts)] : null,
    threshold(measured),
    proof(facts),
  ].flat();

function section(key, ...children) {
  const heading = id("part");
  return el("section", { "aria-labelledby": heading }, el("h2", { id: heading }, t(key)), children);
}

const nameOf = (label, most) => name(label === true ? t("yes") : label === false ? t("no") : label, most);
const nats = (loss) => (loss === null ? "∞" : fixed(loss, 3));
const of100 = (share) => few(Number((100 * share).toFixed(0)), 3);
const between = (each, show = percent) =>
  t("between", { low: show(each.low ?? 0).replace(" %", ""), high: show(each.high ?? 1) });

// --- in short ----------------------------------------------------------------

function headline(facts, model, measured) {
  if (!facts.rows) {
    const held = model.held_out;
    return section(
      "trust.short",
      held
        ? [
            el("p", { class: "big" }, say("short.right", { right: el("strong", {}, of100(held.accuracy)) })),
            el("p", {}, t("short.held", { rows: count(held.rows), loss: nats(held.log_loss) })),
            measured ? null : el("p", { class: "quiet" }, t("short.no more")),
          ]
        : [
            el("p", { class: "big" }, t("nothing")),
            el(
              "p",
              {},
              say("nothing.more", {
                holdout: el("code", {}, "--holdout 0.2"),
                evaluate: el("code", {}, "luce evaluate"),
              }),
            ),
          ],
    );
  }
  const reach = facts.intervals.accuracy;
  const { baseline } = facts;
  const dots = [
    [reach.value, t("hundred.model")],
    [baseline.accuracy, say("hundred.base", { class: nameOf(baseline.class, 16) })],
  ].map(([share, said]) =>
    el(
      "figure",
      {},
      hundred(Math.round(100 * share), t("hundred.of", { right: of100(share) })),
      el("figcaption", {}, el("b", {}, said), el("br"), t("hundred.of", { right: of100(share) })),
    ),
  );
  const gain = facts.headline?.gain;
  const texts = { class: nameOf(baseline.class), base: of100(baseline.accuracy) };
  return section(
    "trust.short",
    el(
      "div",
      { class: "hero" },
      el(
        "div",
        {},
        el("p", { class: "big" }, say("short.right", { right: el("strong", {}, of100(reach.value)) })),
        el("p", { class: "range" }, t("short.range", { low: of100(reach.low), high: of100(reach.high) })),
        el(
          "div",
          { class: "reach" },
          span(reach.low, reach.value, reach.high, baseline.accuracy),
          el("p", { class: "key-line" }, say("short.key", { class: nameOf(baseline.class, 16) })),
        ),
      ),
      el("div", { class: "hundreds" }, dots, el("p", { class: "key-line" }, t("hundred.key"))),
    ),
    gain
      ? el(
          "p",
          {},
          say(`gain.${facts.headline.verdict}`, {
            ...texts,
            gain: of100(gain.value),
            low: of100(gain.low),
            high: of100(gain.high),
          }),
        )
      : null,
    facts.log_loss === null
      ? el("p", { class: "warn" }, t("loss.infinite"))
      : el(
          "p",
          {},
          t("loss.against", {
            loss: fixed(facts.log_loss, 3),
            base: nats(baseline.log_loss),
          }),
        ),
    facts.by_costs ? el("p", { class: "note" }, t("answer.costs")) : null,
    el(
      "p",
      { class: "quiet" },
      t(measured || facts.measured.on === "held out" ? "short.on held out" : "short.on given", {
        rows: count(facts.rows),
      }),
    ),
  );
}

// --- reliability -------------------------------------------------------------

function calibrated(facts) {
  const each = [
    { said: t("reliability.overall"), bins: facts.reliability.overall },
    ...facts.reliability.classes.map((one) => ({ said: plainName(one.class, 40), label: one.class, bins: one.bins })),
  ];
  const place = el("div", { class: "beside" });
  const show = (k) => fill(place, diagram(each[k]));
  show(0);
  const choose = el(
    "select",
    { onchange: (event) => show(Number(event.target.value)) },
    each.map(({ said }, k) => el("option", { value: k }, said)),
  );
  return section(
    "reliability",
    el("p", {}, t("reliability.about")),
    el("label", { class: "model-choice" }, t("reliability.of"), choose),
    place,
  );
}

function diagram({ bins, label }) {
  const about = el("figcaption", {}, t("reliability.caption"));
  const off = bins.filter((bin) => bin.verdict !== "fits").length;
  const body = bins.map((bin) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, `${few(100 * bin.from)}–${few(100 * bin.to)} %`),
      el("td", {}, count(bin.rows)),
      el("td", {}, percent(bin.probability)),
      el("td", {}, percent(bin.observed), el("small", {}, between(bin))),
      el("td", {}, t(`verdict.${bin.verdict}`)),
    ),
  );
  return [
    el(
      "figure",
      {},
      reliability(
        bins,
        label === undefined ? t("reliability") : t("reliability.class", { class: plainName(label, 40) }),
        t("reliability.desc"),
        [t("reliability.x"), t("reliability.y"), t("rows")],
      ),
      about,
    ),
    el(
      "div",
      {},
      el(
        "p",
        { class: off ? "warn" : "note" },
        off ? t("reliability.off", { off, all: bins.length }) : t("reliability.fits"),
      ),
      el(
        "details",
        { open: innerWidth > 736 },
        el("summary", {}, t("as.table")),
        scrolled(
          t("reliability"),
          el("table", {}, head(["bin.given", "rows", "bin.mean", "bin.true", "bin.verdict"]), el("tbody", {}, body)),
        ),
      ),
    ),
  ];
}

const head = (keys) =>
  el(
    "thead",
    {},
    el(
      "tr",
      {},
      keys.map((key) => el("th", { scope: "col" }, t(key))),
    ),
  );

/** A table that scrolls by itself where it is wider than the page. */
const scrolled = (said, table) =>
  el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `${said}: ${t("scroll")}` }, table);

// --- classes and confusions --------------------------------------------------

function classes(facts) {
  const score = (each) =>
    each.value === null
      ? el("td", {}, "–")
      : el(
          "td",
          {},
          percent(each.value),
          el("small", {}, between(each)),
          span(each.low ?? 0, each.value, each.high ?? 1),
        );
  const body = facts.class_intervals.map((each) =>
    el(
      "tr",
      {},
      el(
        "th",
        { scope: "row" },
        nameOf(each.class, 28),
        each.few ? [" ", el("span", { class: "flag" }, t("few"))] : null,
      ),
      el("td", {}, count(each.support)),
      ["precision", "recall"].map((key) => score(each[key])),
    ),
  );
  return section(
    "classes",
    el("p", {}, t("classes.about")),
    scrolled(
      t("classes"),
      el("table", { class: "scores" }, head(["class", "rows", "precision", "recall"]), el("tbody", {}, body)),
    ),
    facts.class_intervals.some((each) => each.few) ? el("p", { class: "quiet" }, t("few.note")) : null,
  );
}

function confusions(facts) {
  const matrix = facts.classes.length <= MATRIX;
  const most = facts.confusions.slice(0, matrix ? 5 : LISTED);
  return section(
    "confusion",
    el("p", {}, t(matrix ? "confusion.about" : "confusion.most")),
    matrix ? shaded(facts) : null,
    most.length
      ? scrolled(
          t("confusion.most"),
          el(
            "table",
            { class: "two-names" },
            el("caption", {}, t("confusion.most")),
            head(["confusion.true", "confusion.answer", "rows", "confusion.share"]),
            el(
              "tbody",
              {},
              most.map((each) =>
                el(
                  "tr",
                  {},
                  el("th", { scope: "row" }, nameOf(facts.classes[each.true], 28)),
                  el("td", {}, nameOf(facts.classes[each.answer], 28)),
                  el("td", {}, count(each.rows)),
                  el("td", {}, percent(each.share)),
                ),
              ),
            ),
          ),
        )
      : el("p", {}, t("confusion.none")),
  );
}

function shaded(facts) {
  const heads = facts.classes.map((label) => el("th", { scope: "col" }, nameOf(label, 12)));
  const lines = facts.confusion.map((row, i) => {
    const all = row.reduce((sum, n) => sum + n, 0);
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, nameOf(facts.classes[i], 16)),
      row.map((n, j) => {
        const level = n ? Math.max(1, Math.round((SHADES * n) / all)) : 0;
        return el("td", { class: `${i === j ? "g" : "b"}${level}` }, count(n));
      }),
    );
  });
  return scrolled(
    t("confusion"),
    el(
      "table",
      { class: "matrix" },
      el("caption", {}, t("confusion.caption")),
      el("thead", {}, el("tr", {}, el("td", { class: "corner" }, t("confusion.corner")), heads)),
      el("tbody", {}, lines),
    ),
  );
}

// --- the threshold -----------------------------------------------------------

function threshold(measured) {
  if (!measured || !measured.codes.length) return section("threshold", el("p", { class: "note" }, t("threshold.none")));
  const state = { code: measured.classes.length === 2 ? 1 : 0, at: 0.5 };
  const slide = el("input", { type: "range", min: 0, max: 1, step: 0.01, id: "threshold", value: 0.5 });
  const shown = el("output", { class: "number" });
  const chart = el("figure", {});
  const lines = ["precision", "recall", "called"].map((key) => ({
    key,
    bar: bar(0),
    number: el("output", { class: "number" }),
    about: el("small"),
  }));
  let counted = null;
  const refresh = () => {
    const found = counted.at(state.at);
    shown.textContent = percent(state.at, 0);
    slide.setAttribute("aria-valuetext", shown.textContent);
    lines.forEach(({ key, bar: line, number, about }) => {
      const [hits, all] = found[key];
      line.to(all ? hits / all : 0);
      number.textContent = all ? percent(hits / all) : "–";
      const reach = all && key !== "called" ? ` (${between(wilson(hits, all))})` : "";
      about.textContent = t(`threshold.${key}`, { hits: count(hits), all: count(all) }) + reach;
    });
    fill(chart, counted.chart(state.at));
  };
  const choose = (code) => {
    state.code = code;
    counted = calls(measured, code);
    refresh();
  };
  slide.addEventListener("input", () => {
    state.at = Number(slide.value);
    refresh();
  });
  const select = el(
    "select",
    { id: "threshold-class", onchange: (event) => choose(Number(event.target.value)) },
    measured.classes.map((label, k) =>
      el(
        "option",
        { value: k, selected: k === state.code },
        label === true ? t("yes") : label === false ? t("no") : plainName(label, 40),
      ),
    ),
  );
  choose(state.code);
  return section(
    "threshold",
    el("p", {}, t("threshold.about", { rows: count(measured.codes.length) })),
    el(
      "div",
      { class: "panel beside-chart" },
      el(
        "div",
        {},
        el(
          "p",
          { class: "field-line" },
          el("label", { class: "field-name", for: "threshold-class" }, t("class")),
          select,
        ),
        el("label", { class: "slider" }, el("span", {}, t("threshold.at")), slide, shown),
        el(
          "dl",
          { class: "called" },
          lines.map(({ key, bar: line, number, about }) =>
            el(
              "div",
              {},
              el("dt", {}, t(key)),
              el("dd", {}, el("span", { class: "with-number" }, line, number), about),
            ),
          ),
        ),
      ),
      chart,
    ),
  );
}

/** Counts of a class called where its probability is at least a threshold: those called, right, and there. */
function calls(measured, code) {
  const rows = measured.codes
    .map((truth, i) => [measured.probabilities[i][code], truth === code ? 1 : 0])
    .sort((a, b) => b[0] - a[0]);
  const right = [0];
  for (const [, hit] of rows) right.push(right.at(-1) + hit);
  const called = (least) => {
    let low = 0,
      high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle][0] >= least) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const at = (least) => {
    const n = called(least);
    return { precision: [right[n], n], recall: [right[n], right.at(-1)], called: [n, rows.length] };
  };
  const curves = ["precision", "recall"].map((key) =>
    Array.from({ length: 101 }, (_, k) => [k / 100, at(k / 100)[key]])
      .filter(([, [, all]]) => all)
      .map(([x, [hits, all]]) => [x, hits / all]),
  );
  const chart = (least) => {
    const frame = new Frame({ left: 42, top: 10, right: 342, bottom: 190 });
    const [x] = frame.point(least, 0);
    return [
      picture(
        360,
        236,
        t("threshold.title"),
        t("threshold.desc"),
        frame.grid([0, 0.25, 0.5, 0.75, 1], [0, 0.5, 1], (v) => few(100 * v)),
        curves.map((points, k) =>
          svg("path", { class: `line s${k}`, d: curvePath(points.map((point) => frame.point(...point))) }),
        ),
        svg("line", { class: "now", x1: x, x2: x, y1: frame.top, y2: frame.bottom }),
        frame.axisName(t("threshold.x")),
      ),
      el(
        "ul",
        { class: "legend" },
        ["precision", "recall"].map((key, k) =>
          el(
            "li",
            {},
            svg(
              "svg",
              { class: "key", viewBox: "0 0 26 10", "aria-hidden": "true" },
              svg("line", { class: `line s${k}`, x1: 0, y1: 5, x2: 26, y2: 5 }),
            ),
            t(key),
          ),
        ),
      ),
    ];
  };
  return { at, chart };
}

/** Wilson's 95 % interval of a share. */
function wilson(hits, all) {
  const z = 1.959964;
  const p = hits / all,
    d = 1 + (z * z) / all;
  const middle = (p + (z * z) / (2 * all)) / d;
  const half = (z / d) * Math.sqrt((p * (1 - p)) / all + (z * z) / (4 * all * all));
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

// --- the proof ---------------------------------------------------------------

function proof({ certificate: known, training }) {
  const rows = count(training.rows);
  if (known.network)
    return section(
      "proof",
      el(
        "p",
        {},
        t("proof.network", {
          units: known.network.units.join(", "),
          parameters: count(known.network.parameters),
          rows,
        }),
      ),
    );
  if (known.gap === null) return section("proof", el("p", {}, t("proof.none", { rows })));
  const relative = known.parts
    ? el("p", {}, t("proof.relative", { parts: count(Number(known.parts.toPrecision(2))) }))
    : null;
  return section(
    "proof",
    el(
      "p",
      {},
      t("proof.is", { rows, objective: few(known.objective, 5), gap: few(known.gap, 2), passes: known.passes }),
    ),
    relative,
  );
}
