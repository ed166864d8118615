// What a model answers: probabilities as bars, the set, the reasons, what would flip it.

import { heatMap } from "./charts.js";
import { bar, el, fill, later, name, percent, plainName, rounded, signed, signedBar } from "./dom.js";
import { say, t } from "./texts.js";

const SHOWN = 12; // classes with a bar of their own
const REASONS = 8;
const QUIET = 900; // milliseconds without a change until the answer is read out

const nameOf = (value, most = 40) => name(value === true ? t("yes") : value === false ? t("no") : value, most);
const plain = (value) => (value === true ? t("yes") : value === false ? t("no") : plainName(value, 40));

/** The panel beside the form; against(class): called when another class is set against the answer. */
export function answerPanel(model, against) {
  const head = el("p", { class: "decision" });
  const list = el("ol", { class: "shares" });
  const set = el("p", { class: "set" });
  const why = el("div", { class: "why" });
  const live = el("p", { class: "hidden-text", "aria-live": "polite" });
  const error = el("p", { class: "warn", role: "alert", hidden: true });
  const strip = el("div", { class: "strip", "aria-hidden": "true", hidden: true });
  new IntersectionObserver(([seen]) => strip.classList.toggle("needless", seen.isIntersecting)).observe(head);
  const node = el(
    "div",
    { class: "panel answer", role: "region", "aria-label": t("answer") },
    error,
    head,
    list,
    set,
    why,
    live,
  );
  const tell = later((said) => {
    live.textContent = said;
  }, QUIET);
  const bars = new Map();
  let now = null;

  const wait = (what = null) => {
    node.classList.toggle("stale", now !== null);
    strip.hidden = true;
    error.hidden = !what;
    fill(error, what ? name(what, 400) : "");
    if (!now)
      fill(
        head,
        el(
          "span",
          { class: "quiet" },
          t(model.columns.some((column) => column.kind === "image") ? "answer.image" : "answer.wait"),
        ),
      );
  };
  const show = ({ answers: [answer], probabilities: [p], sets }) => {
    node.classList.remove("stale");
    error.hidden = true;
    if (now?.answer !== answer) fill(why);
    now = { answer, p };
    const share = p[model.classes.indexOf(answer)];
    fill(head, el("strong", {}, nameOf(answer)), " ", el("span", { class: "sure" }, percent(share)));
    fill(list, rows(model, bars, answer, p));
    fill(set, sets ? setSentence(sets[0]) : "");
    strip.hidden = false;
    fill(strip, nameOf(answer, 24), el("span", {}, percent(share)), bar(share));
    tell(t("answer.live", { answer: plain(answer), share: percent(share) }));
  };
  const explain = (found, row) => {
    const held = why.contains(document.activeElement);
    fill(why, ...(found ? reasons(model, found, row, against) : []));
    if (held) why.querySelector("select")?.focus();
  };
  wait();
  return { node, strip, wait, show, explain };
}

/** A line a class, in the order of the model; of many classes the most probable ones. */
function rows(model, bars, answer, p) {
  const order = p.map((_, k) => k);
  const many = order.length > SHOWN;
  if (many) order.sort((a, b) => p[b] - p[a]);
  const shown = many ? order.slice(0, SHOWN) : order;
  const lines = shown.map((k) => {
    if (!bars.has(k)) {
      const line = { bar: bar(0), number: el("data") };
      line.node = el("li", {}, nameOf(model.classes[k], 28), line.bar, line.number);
      bars.set(k, line);
    }
    const line = bars.get(k);
    line.bar.to(p[k]);
    line.number.textContent = percent(p[k]);
    line.number.value = p[k];
    line.node.classList.toggle("chosen", model.classes[k] === answer);
    return line.node;
  });
  const rest = order.slice(SHOWN).reduce((sum, k) => sum + p[k], 0);
  return many
    ? [
        ...lines,
        el(
          "li",
          { class: "rest" },
          t("answer.others", { n: order.length - SHOWN }),
          bar(rest, "pale"),
          el("data", {}, percent(rest)),
        ),
      ]
    : lines;
}

function setSentence(labels) {
  if (!labels.length) return el("span", {}, t("set.none"));
  const names = labels.flatMap((label, k) => [k ? ", " : "", el("strong", {}, nameOf(label))]);
  return [
    ...say(labels.length === 1 ? "set.one" : "set.many", { set: el("span", {}, names) }),
    labels.length === 1 ? null : el("small", {}, t("set.means")),
  ];
}

// --- reasons -----------------------------------------------------------------

function reasons(model, found, row, against) {
  const select = el(
    "select",
    { "aria-label": t("why.other"), onchange: () => against(model.classes[Number(select.value)]) },
    model.classes.map((label, k) =>
      label === found.answer ? null : el("option", { value: k, selected: label === found.other }, plain(label)),
    ),
  );
  const other = model.classes.length > 2 ? select : nameOf(found.other);
  const many = found.contributions.length > 1;
  const told = [
    many ? contributions(found) : null,
    ...found.texts.filter((text) => text.pieces.length).map((text) => marked(text, found, many)),
    ...found.images.map((image) => mapped(image, found, columnOf(model, image), row[image.column], many)),
    ...found.notes.map((note) => el("p", { class: "note" }, name(note, 400))),
    costs(model, found),
    flip(model, found),
  ].filter(Boolean);
  return told.length ? [el("h2", {}, say("why", { answer: nameOf(found.answer), other })), ...told] : [];
}

const columnOf = (model, { column }) => model.columns.find((each) => each.name === column);

const costs = (model, found) =>
  model.costs && found.probabilities[0] < found.probabilities[1] ? el("p", { class: "note" }, t("why.costs")) : null;

function contributions(found) {
  const shown = found.contributions.filter((each) => each.amount).slice(0, REASONS);
  const rest = found.contributions.slice(shown.length).reduce((sum, each) => sum + each.amount, 0);
  const lines = [
    ...shown.map((each) => [
      [name(each.column, 40), " ", el("span", { class: "quiet" }, cell(each.value))],
      each.amount,
    ]),
    ...(Math.abs(rest) >= 0.005 ? [[t("why.rest", { n: found.contributions.length - shown.length }), rest]] : []),
    [t("why.base"), found.base],
  ];
  const most = Math.max(...lines.map(([, amount]) => Math.abs(amount)), 1e-9);
  return el(
    "div",
    {},
    el(
      "ol",
      { class: "reasons" },
      lines.map(([said, amount]) => {
        const pull = signedBar(amount / most);
        return el("li", {}, el("span", {}, said), pull, el("data", { value: amount }, signed(amount)));
      }),
    ),
    el("p", { class: "quiet sum" }, say("why.sum", { difference: signed(found.difference) })),
  );
}

function cell(value) {
  if (value === null || value === undefined || value === "") return t("missing");
  return typeof value === "string" ? name(value, 30) : typeof value === "number" ? rounded(value) : plain(value);
}

function marked(text, found, many) {
  const marks = text.pieces.map(({ text: piece, strength }) => {
    if (!strength || !piece.trim()) return piece;
    const [, before, word, after] = /^(\s*)(.*?)(\s*)$/s.exec(piece);
    return [before, el("mark", { class: `${strength > 0 ? "m" : "n"}${Math.abs(strength)}` }, word), after];
  });
  return el(
    "div",
    { class: "text" },
    many ? el("small", {}, name(text.column)) : null,
    el("p", { class: "marked" }, marks),
    el(
      "small",
      {},
      say("why.words", {
        for: el("mark", { class: "m2" }, nameOf(found.answer, 20)),
        against: el("mark", { class: "n2" }, nameOf(found.other, 20)),
      }),
    ),
  );
}

const THIRDS = 3;

/** Where in an image the contribution of its column comes from, over the image itself. */
function mapped({ column, cells }, found, own, picture, many) {
  const parts = thirds(cells);
  const best = (sign) => parts.reduce((a, b) => (sign * b.amount > sign * a.amount ? b : a));
  const place = ({ at }) => t(`heat.place.${at}`);
  const [most, least] = [best(1), best(-1)];
  const told = [
    most.amount > 0 ? t("heat.for", { answer: plain(found.answer), place: place(most), amount: signed(most.amount) }) : "",
    least.amount < 0 ? t("heat.against", { place: place(least), amount: signed(least.amount) }) : "",
  ].join(" ");
  const { amount } = found.contributions.find((each) => each.column === column);
  const key = (kind, said) => el("li", {}, el("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), el("span", {}, said));
  return el(
    "figure",
    { class: "heat" },
    many ? el("small", {}, name(column)) : null,
    heatMap(cells, picture, own, `${t("heat.title")} ${told}`),
    el(
      "figcaption",
      {},
      el(
        "ul",
        { class: "legend" },
        key("plus", say("heat.key.for", { answer: nameOf(found.answer, 20) })),
        key("less", say("heat.key.against", { other: nameOf(found.other, 20) })),
      ),
      el("p", {}, told),
      many
        ? null
        : el(
            "p",
            {},
            t("heat.sum", { amount: signed(amount), base: signed(found.base), difference: signed(found.difference) }),
          ),
    ),
  );
}

/** The sums of three by three parts of the cells, each with its place: 0 to 8 from the top left. */
function thirds(cells) {
  const parts = Array.from({ length: THIRDS * THIRDS }, (_, at) => ({ at, amount: 0 }));
  cells.forEach((line, i) =>
    line.forEach((amount, j) => {
      const [row, column] = [
        [i, cells.length],
        [j, line.length],
      ].map(([k, all]) => Math.floor(((k + 0.5) * THIRDS) / all));
      parts[THIRDS * row + column].amount += amount;
    }),
  );
  return parts;
}

/** What would change the answer; of texts and images alone nothing is tried. */
function flip(model, { flip: found }) {
  if (found === undefined || model.columns.every((column) => ["text", "image"].includes(column.kind))) return null;
  if (found === null) return el("p", { class: "flip quiet" }, t("flip.none"));
  const moves = found.moves.map((move) =>
    el(
      "li",
      {},
      say("flip.move", {
        column: name(move.column, 40),
        before: cell(move.before),
        after: el("strong", {}, cell(move.after)),
      }),
    ),
  );
  return el(
    "div",
    { class: "flip" },
    el("p", {}, say("flip", { answer: el("strong", {}, nameOf(found.answer)) })),
    el("ul", {}, moves),
  );
}
