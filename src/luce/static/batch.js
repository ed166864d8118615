// Many rows at once: a file is shown, sent in parts, counted, and given back with its predictions.

import { bar, count, download, dropZone, el, fill, name, percent } from "./dom.js";
import { cells, decoded, parts, records, separatorOf } from "./csv.js";
import { ask, askText, of } from "./service.js";
import { say, t } from "./texts.js";

const SHOWN = 5; // first rows
const WIDE = 12; // columns of them
const ROWS = 2000; // a part
const SIZE = 1_000_000; // characters a part
const CLASSES = 30; // that are counted one by one

export function draw(main, { model, picker }) {
  const work = el("div", { class: "batch" });
  const [only] = model.columns;
  const images = model.columns.length === 1 && only.kind === "image";
  const lines = model.columns.length === 1 && only.kind === "text";
  let stop = new AbortController();
  const take = (file, all) => {
    stop.abort();
    stop = new AbortController();
    const cancel = () => stop.abort();
    if (images)
      run(all.length, work, model, (tell) => predictedImages(all, model, stop.signal, tell), t("batch.images"), cancel);
    else read(file, work, model, stop.signal, cancel);
  };
  const about = images
    ? []
    : [
        el(
          "p",
          { class: "quiet" },
          say("batch.columns", { columns: columns(model) }),
          lines ? ` ${t("batch.lines")}` : "",
        ),
      ];
  main.append(
    ...[picker].filter(Boolean),
    el("h1", {}, t("batch.title")),
    el("p", { class: "lead" }, t(images ? "batch.lead.images" : "batch.lead")),
    images
      ? dropZone(t("batch.drop.images"), take, "image/*", true)
      : dropZone(t("batch.drop"), take, ".csv,.tsv,.txt,text/csv"),
    ...about,
    work,
  );
  return () => stop.abort();
}

const columns = (model) =>
  el(
    "span",
    {},
    model.columns.slice(0, 40).flatMap((column, k) => [k ? ", " : "", name(column.name, 40)]),
    model.columns.length > 40 ? " …" : "",
  );

async function read(file, work, model, signal, cancel) {
  fill(work, el("p", { class: "quiet", role: "status" }, say("batch.reading", { file: name(file.name) })));
  let found;
  try {
    found = await decoded(file);
  } catch {
    fill(work, el("p", { class: "warn", role: "alert" }, say("batch.encoding", { file: name(file.name) })));
    return;
  }
  if (signal.aborted) return;
  const [header, ...rows] = tabled(found.text, file, model);
  if (!rows.length) {
    fill(work, el("p", { class: "warn", role: "alert" }, say("batch.empty", { file: name(file.name) })));
    return;
  }
  const separator = separatorOf(header);
  const names = cells(header.replace(/^\uFEFF/, ""), separator);
  const known = names.filter((each) => model.columns.some((column) => column.name === each));
  const button = el("button", { type: "button", class: "main-button" }, t("batch.start", { rows: count(rows.length) }));
  const result = el("div");
  fill(
    work,
    el(
      "section",
      {},
      el("h2", {}, name(file.name, 60)),
      el(
        "p",
        {},
        t("batch.found", {
          rows: count(rows.length),
          columns: names.length,
          known: known.length,
          all: model.columns.length,
        }),
        found.encoding === "utf-8" ? null : ` ${t("batch.read as", { encoding: found.encoding })}`,
      ),
      preview(
        names,
        rows.slice(0, SHOWN).map((row) => cells(row, separator)),
      ),
      el("p", { class: "buttons" }, button),
      result,
    ),
  );
  button.addEventListener("click", async () => {
    button.disabled = true;
    await run(rows.length, result, model, (tell) => predicted(header, rows, model, signal, tell), file.name, cancel);
    button.disabled = signal.aborted;
  });
}

/** The records of a file; of a file of texts, for a model that reads nothing else, a line is a row. */
function tabled(text, file, { columns: [only, ...others] }) {
  const lines = records(text);
  if (others.length || only.kind !== "text" || !file.name.toLowerCase().endsWith(".txt")) return lines;
  return [
    `${quoted(only.name)}\n`,
    ...text
      .split(/\r?\n/)
      .filter((line) => line.trim())
      .map((line) => `${quoted(line)}\n`),
  ];
}

const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

/** Shows how far the work is, then what came of it. work(tell): the predictions as CSV records. */
async function run(rows, place, model, work, file, cancel) {
  const progress = el("progress", { max: rows, value: 0, "aria-label": t("batch.progress") });
  const said = el("span", { role: "status" });
  const tell = (done) => {
    progress.value = done;
    said.textContent = t("batch.done so far", { done: count(done), rows: count(rows) });
  };
  fill(
    place,
    el("p", { class: "running" }, progress, said, el("button", { type: "button", onclick: cancel }, t("cancel"))),
  );
  try {
    fill(place, summary(await work(tell), file, model));
  } catch (error) {
    if (error.name !== "AbortError")
      fill(
        place,
        el("p", { class: "warn", role: "alert" }, error.status === 0 ? t("error.away") : name(error.message, 400)),
      );
    else fill(place, el("p", { class: "quiet" }, t("batch.stopped")));
  }
}

function preview(names, rows) {
  const shown = names.slice(0, WIDE);
  const more = names.length > WIDE ? el("th", { scope: "col" }, `+${names.length - WIDE}`) : null;
  return el(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": `${t("batch.first")}: ${t("scroll")}` },
    el(
      "table",
      { class: "preview-table" },
      el("caption", {}, t("batch.first")),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          shown.map((each) => el("th", { scope: "col" }, name(each, 24))),
          more,
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            {},
            shown.map((_, k) => el("td", {}, row[k] ? name(row[k], 40) : "")),
            more ? el("td", {}, "…") : null,
          ),
        ),
      ),
    ),
  );
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
      answer = await askText(of(model.name, "predict"), {
        method: "POST",
        body: top + part.join(""),
        type: "text/csv",
        accept: "text/csv",
        signal,
      });
    } catch (error) {
      if (error.status && done)
        error.message = t("batch.in part", {
          from: count(done + 1),
          to: count(done + part.length),
          what: error.message,
        });
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

/** The predictions of image files, one after the other, with their names in the first column. */
async function predictedImages(images, model, signal, tell) {
  const out = [`${["image", "prediction", ...model.classes.map((label) => `p:${label}`)].map(quoted).join(",")}\n`];
  for (const file of images) {
    try {
      const {
        answers: [answer],
        probabilities: [p],
      } = await ask(of(model.name, "predict"), { method: "POST", body: file, type: file.type, signal });
      out.push(`${[file.name, String(answer), ...p].map((cell) => quoted(String(cell))).join(",")}\n`);
    } catch (error) {
      if (error.status) error.message = `${file.name}: ${error.message}`;
      throw error;
    }
    tell(out.length - 1);
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
  const stem = file.replace(/\.[^.]*$/, "");
  const save = () =>
    download(
      new Blob([head.endsWith("\n") ? head : `${head}\n`, ...lines], { type: "text/csv;charset=utf-8" }),
      `${stem}.${model.name}.csv`,
    );
  return [
    el("h3", {}, t("batch.answers", { rows: count(lines.length) })),
    el(
      "div",
      { class: "wide" },
      el(
        "table",
        { class: "counts" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["class", "rows", "batch.share", "batch.mean"].map((key) => el("th", { scope: "col" }, t(key))),
          ),
        ),
        el(
          "tbody",
          {},
          order
            .slice(0, CLASSES)
            .map(([label, { rows, sum }]) =>
              el(
                "tr",
                {},
                el("th", { scope: "row" }, name(label, 40)),
                el("td", {}, count(rows)),
                el(
                  "td",
                  {},
                  el("span", { class: "with-number" }, bar(rows / lines.length), percent(rows / lines.length)),
                ),
                el("td", {}, Number.isFinite(sum) ? percent(sum / rows) : "–"),
              ),
            ),
        ),
      ),
    ),
    order.length > CLASSES ? el("p", { class: "quiet" }, t("batch.more", { n: order.length - CLASSES })) : null,
    el(
      "p",
      { class: "buttons" },
      el("button", { type: "button", class: "main-button", onclick: save }, t("batch.save")),
    ),
  ];
}
