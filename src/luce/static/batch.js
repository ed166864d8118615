// Many rows at once: a file is shown, sent in parts, counted, and given back with its predictions.

import { bar, count, download, dropZone, el, fill, name, percent } from "./dom.js";
import { cells, decoded, parts, records, separatorOf } from "./csv.js";
import { askText, of } from "./service.js";
import { say, t } from "./texts.js";

const SHOWN = 5; // first rows
const WIDE = 12; // columns of them
const ROWS = 2000; // a part
const SIZE = 1_000_000; // characters a part
const CLASSES = 30; // that are counted one by one

export function draw(main, { model, picker }) {
  const work = el("div", { class: "batch" });
  let stop = new AbortController();
  const take = (file) => {
    stop.abort();
    stop = new AbortController();
    read(file, work, model, stop.signal, () => stop.abort());
  };
  main.append(...[picker].filter(Boolean), el("h1", {}, t("batch.title")), el("p", { class: "lead" }, t("batch.lead")),
    dropZone(t("batch.drop"), take, ".csv,.tsv,.txt,text/csv"), el("p", { class: "quiet" }, say("batch.columns", { columns: columns(model) })), work);
  return () => stop.abort();
}

const columns = (model) => el("span", {}, model.columns.slice(0, 40).flatMap((column, k) => [k ? ", " : "", name(column.name, 40)]), model.columns.length > 40 ? " …" : "");

async function read(file, work, model, signal, cancel) {
  fill(work, el("p", { class: "quiet", role: "status" }, t("batch.reading", { file: file.name })));
  let found;
  try {
    found = await decoded(file);
  } catch {
    fill(work, el("p", { class: "warn", role: "alert" }, t("batch.encoding", { file: file.name })));
    return;
  }
  if (signal.aborted) return;
  const [header, ...rows] = records(found.text);
  if (!rows.length) { fill(work, el("p", { class: "warn", role: "alert" }, t("batch.empty", { file: file.name }))); return; }
  const separator = separatorOf(header);
  const names = cells(header.replace(/^\uFEFF/, ""), separator);
  const known = names.filter((each) => model.columns.some((column) => column.name === each));
  const progress = el("progress", { max: rows.length, value: 0, "aria-label": t("batch.progress") });
  const said = el("span", { role: "status" });
  const button = el("button", { type: "button", class: "main-button" }, t("batch.start", { rows: count(rows.length) }));
  const result = el("div");
  fill(work, el("section", {}, el("h2", {}, name(file.name, 60)),
    el("p", {}, t("batch.found", { rows: count(rows.length), columns: names.length, known: known.length, all: model.columns.length }),
      found.encoding === "utf-8" ? null : ` ${t("batch.read as", { encoding: found.encoding })}`),
    preview(names, rows.slice(0, SHOWN).map((row) => cells(row, separator))), el("p", { class: "buttons" }, button), result));
  button.addEventListener("click", async () => {
    button.disabled = true;
    fill(result, el("p", { class: "running" }, progress, said, el("button", { type: "button", onclick: cancel }, t("cancel"))));
    try {
      const out = await predicted(header, rows, model, signal, (done) => { progress.value = done; said.textContent = t("batch.done so far", { done: count(done), rows: count(rows.length) }); });
      fill(result, summary(out, file, model));
    } catch (error) {
      if (error.name !== "AbortError") fill(result, el("p", { class: "warn", role: "alert" }, error.status === 0 ? t("error.away") : name(error.message, 400)));
      else fill(result, el("p", { class: "quiet" }, t("batch.stopped")));
      button.disabled = signal.aborted;
    }
  });
}

function preview(names, rows) {
  const shown = names.slice(0, WIDE);
  const more = names.length > WIDE ? el("th", { scope: "col" }, `+${names.length - WIDE}`) : null;
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `${t("batch.first")}: ${t("scroll")}` }, el("table", { class: "preview-table" }, el("caption", {}, t("batch.first")),
    el("thead", {}, el("tr", {}, shown.map((each) => el("th", { scope: "col" }, name(each, 24))), more)),
    el("tbody", {}, rows.map((row) => el("tr", {}, shown.map((_, k) => el("td", {}, row[k] ? name(row[k], 40) : "")), more ? el("td", {}, "…") : null)))));
}

/** The predictions of all rows as CSV records, a header first; tell(n) after each part. */
async function predicted(header, rows, model, signal, tell) {
  const out = [];
  let done = 0;
  tell(0);
  const top = header.endsWith("\n") ? header : `${header}\n`;
  for (const part of parts(rows, ROWS, SIZE)) {
    let answer;
    try {
      answer = await askText(of(model.name, "predict"), { method: "POST", body: top + part.join(""), type: "text/csv", accept: "text/csv", signal });
    } catch (error) {
      if (error.status && done) error.message = t("batch.in part", { from: count(done + 1), to: count(done + part.length), what: error.message });
      throw error;
    }
    const [head, ...lines] = records(answer);
    if (!out.length) out.push(head);
    for (const line of lines) out.push(line.endsWith("\n") ? line : `${line}\n`);
    done += part.length;
    tell(done);
  }
  return out;
}

function summary([head, ...lines], file, model) {
  const names = cells(head);
  const at = names.indexOf("prediction");
  const shares = new Map(names.flatMap((each, k) => (each.startsWith("p:") ? [[each.slice(2), k]] : [])));
  const found = new Map();
  for (const line of lines) {
    const row = cells(line);
    const each = found.get(row[at]) ?? { rows: 0, sum: 0 };
    each.rows += 1;
    each.sum += Number(row[shares.get(row[at])]);
    found.set(row[at], each);
  }
  const order = [...found].sort((a, b) => b[1].rows - a[1].rows);
  const stem = file.name.replace(/\.[^.]*$/, "");
  const save = () => download(new Blob([head.endsWith("\n") ? head : `${head}\n`, ...lines], { type: "text/csv;charset=utf-8" }), `${stem}.${model.name}.csv`);
  return [
    el("h3", {}, t("batch.answers", { rows: count(lines.length) })),
    el("div", { class: "wide" }, el("table", { class: "counts" }, el("thead", {}, el("tr", {}, ["class", "rows", "batch.share", "batch.mean"].map((key) => el("th", { scope: "col" }, t(key))))),
      el("tbody", {}, order.slice(0, CLASSES).map(([label, { rows, sum }]) => el("tr", {}, el("th", { scope: "row" }, name(label, 40)), el("td", {}, count(rows)),
        el("td", {}, el("span", { class: "with-number" }, bar(rows / lines.length), percent(rows / lines.length))), el("td", {}, Number.isFinite(sum) ? percent(sum / rows) : "–")))))),
    order.length > CLASSES ? el("p", { class: "quiet" }, t("batch.more", { n: order.length - CLASSES })) : null,
    el("p", { class: "buttons" }, el("button", { type: "button", class: "main-button", onclick: save }, t("batch.save"))),
  ];
}
