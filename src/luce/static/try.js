// A form of a model's columns, and its answer while one types or draws.

import { el, later, name } from "./dom.js";
import { ask, newest, of } from "./service.js";
import { say, t } from "./texts.js";
import { field } from "./fields.js";
import { answerPanel } from "./answer.js";

const THEN = 300; // milliseconds from an answer until its reasons are asked for
const COVERAGE = 0.95;
const FIXED = ["text", "image"]; // kinds of which no change is tried
const SHOWN = 24; // fields; more are folded away
const kept = new Map(); // the cells of each model's form, as long as the page lives

/** What most rows had: nothing, where most cells were missing. */
const usual = (column) => (column.missing && column.missing_share > 0.5 ? null : column.typical);

export function draw(main, { model, picker }) {
  const cells = kept.get(model.name) ?? new Map(model.columns.map((column) => [column.name, usual(column)]));
  kept.set(model.name, cells);
  const state = { against: null, answer: null };
  let asking = new AbortController();

  const changed = () => {
    for (const column of model.columns) cells.set(column.name, fields.get(column.name).cell());
    answer();
  };
  const fields = new Map(
    model.columns.map((column) => [column.name, field(column, cells.get(column.name) ?? null, changed)]),
  );
  const panel = answerPanel(model, (against) => {
    state.against = against;
    reasons();
  });

  /** The row, or null while a field holds nothing that can be sent. */
  const row = () => {
    const empty = model.columns.filter((column) => fields.get(column.name).cell() === undefined);
    for (const column of model.columns) {
      const waits = column.kind === "image" || !empty.includes(column);
      fields.get(column.name).fault(waits ? null : t("field.empty"));
    }
    if (empty.length) return null;
    return Object.fromEntries(model.columns.map((column) => [column.name, fields.get(column.name).cell()]));
  };
  const predict = (question, signal) => ask(of(model.name, "predict"), { json: question, signal });
  const answer = () => {
    const given = row();
    asking.abort();
    reasonsSoon.stop();
    if (given) answers.ask({ rows: [given], ...(model.sets ? { coverage: COVERAGE } : {}) });
    else {
      answers.drop();
      panel.wait();
    }
  };
  const reasons = async () => {
    const given = row();
    if (!given) return;
    asking.abort();
    asking = new AbortController();
    const flip = model.columns.some((column) => !FIXED.includes(column.kind));
    const against = state.against === null || state.against === state.answer ? {} : { against: state.against };
    try {
      const found = await predict({ rows: [given], explain: true, flip, ...against }, asking.signal);
      panel.explain(found.explanations?.[0] ?? null, given);
    } catch (error) {
      if (error.name !== "AbortError") wrong(error);
    }
  };
  const reasonsSoon = later(reasons, THEN);

  /** Shows what went wrong beside the field that the service names, else beside the answer. */
  const wrong = (error) => {
    const [, column] = /^rows\[\d+\]\.?(.*)$/s.exec(error.where ?? "") ?? [];
    const what = error.status === 0 ? t("error.away") : error.message;
    const at = fields.get(column);
    at?.fault(what);
    if (at?.node.closest("details")) at.node.closest("details").open = true;
    panel.wait(at ? null : what);
  };

  const nodes = model.columns.map((column) => fields.get(column.name).node);
  const more =
    nodes.length > SHOWN
      ? el(
          "details",
          { class: "more" },
          el("summary", {}, t("try.more", { n: nodes.length - SHOWN })),
          el("div", { class: "form" }, nodes.slice(SHOWN)),
        )
      : null;
  const answers = newest(
    predict,
    (found) => {
      state.answer = found.answers[0];
      panel.show(found);
      reasonsSoon();
    },
    wrong,
  );

  const form = el(
    "form",
    { class: "form", "aria-label": t("try.form"), onsubmit: (event) => event.preventDefault() },
    nodes.slice(0, SHOWN),
    more,
  );
  const begin = el(
    "button",
    {
      type: "button",
      class: "quiet-button",
      onclick: () => {
        kept.delete(model.name);
        main.replaceChildren();
        leave();
        leave = draw(main, { model, picker });
      },
    },
    t("try.typical"),
  );
  main.append(
    ...[picker].filter(Boolean),
    el("h1", {}, model.label ? say("try.title", { label: name(model.label, 40) }) : t("try.title.plain")),
    el("p", { class: "lead" }, t(model.columns.length === 1 ? `try.lead.${model.columns[0].kind}` : "try.lead")),
    el("div", { class: "try" }, el("div", {}, form, model.columns.length > 1 ? el("p", {}, begin) : null), panel.node),
    panel.strip,
  );
  answer();
  let leave = () => {
    answers.drop();
    asking.abort();
    reasonsSoon.stop();
  };
  return () => leave();
}
