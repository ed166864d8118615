// A model from a file, trained by the service before one's eyes.

import { download, dropZone, el, few, fill, name, percent, plainName, svg } from "./dom.js";
import { cells, decoded, records, separatorOf } from "./csv.js";
import { curvePath, Frame, picture, ticks } from "./charts.js";
import { ask, askFile, events, keepToken, of, token } from "./service.js";
import { say, t } from "./texts.js";

const NAME = "[a-z0-9][a-z0-9._\\-]{0,63}"; // that a service knows a model by
const HEAD = 200_000; // bytes in which the header is looked for

export function draw(main, { known }) {
  main.append(el("h1", {}, t("train.title")), el("p", { class: "lead" }, t("train.lead")));
  if (!known.writable) {
    main.append(el("p", { class: "note" }, say("train.closed", { command: el("code", {}, "luce serve --token …") })));
    return undefined;
  }
  const work = el("div");
  let stop = new AbortController();
  const take = (file) => {
    stop.abort();
    stop = new AbortController();
    form(file, work, known.models, stop.signal);
  };
  main.append(dropZone(t("train.drop"), take, ".csv,.tsv,.zip,text/csv,application/zip"), work);
  return () => stop.abort();
}

const field = (said, input) =>
  el("div", { class: "field" }, el("label", { class: "field-head", for: input.id }, said), input);

/** A name for the model of a file that the service takes, and that no other model has. */
function nameFor(file, taken) {
  const stem = file.name
    .replace(/\.[^.]*$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, "")
    .slice(0, 60);
  const first = stem || "model";
  let found = first;
  for (let n = 2; taken.includes(found); n += 1) found = `${first}-${n}`;
  return found;
}

async function form(file, work, taken, signal) {
  const zip = file.name.toLowerCase().endsWith(".zip");
  let names = [];
  if (!zip) {
    try {
      const [header = ""] = records((await decoded(file.size > HEAD ? await wholeLines(file) : file)).text);
      names = cells(header.replace(/^\uFEFF/, ""), separatorOf(header));
    } catch {
      fill(work, el("p", { class: "warn", role: "alert" }, say("batch.encoding", { file: name(file.name) })));
      return;
    }
  }
  const label = el(
    "select",
    { id: "train-label" },
    names.map((each) => el("option", { value: each }, plainName(each))),
  );
  label.selectedIndex = names.length - 1;
  const title = el("input", {
    type: "text",
    id: "train-name",
    value: nameFor(file, taken),
    required: true,
    maxlength: 64,
    pattern: NAME,
    title: t("train.name.rule"),
    autocapitalize: "off",
    autocomplete: "off",
  });
  const secret = el("input", { type: "password", id: "train-token", autocomplete: "off", required: true });
  const result = el("div", { class: "result" });
  const button = el("button", { class: "main-button" }, t("train.start"));
  const send = async (event) => {
    event.preventDefault();
    if (secret.isConnected) keepToken(secret.value.trim());
    button.disabled = true;
    try {
      await train(file, { name: title.value.trim(), ...(zip ? {} : { label: label.value }) }, zip, result, signal);
    } catch (error) {
      if (error.name !== "AbortError")
        fill(
          result,
          el("p", { class: "warn", role: "alert" }, error.status === 0 ? t("error.away") : name(error.message, 600)),
        );
    }
    button.disabled = false;
  };
  fill(
    work,
    el(
      "form",
      { class: "form train-form", onsubmit: send },
      el("h2", {}, name(file.name, 60)),
      zip ? null : field(t("train.label"), label),
      field(t("train.name"), title),
      token() ? null : field(t("token"), secret),
      el("p", { class: "buttons" }, button),
    ),
    result,
  );
}

/** The beginning of a large file up to the end of a line. */
async function wholeLines(file) {
  const bytes = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  return file.slice(0, bytes.lastIndexOf(10) + 1);
}

async function train(file, query, zip, result, signal) {
  const said = el("p", { role: "status" }, t("train.sent"));
  const more = el("div");
  const gaps = [];
  fill(result, el("section", {}, said, more));
  const { job } = await ask(`v1/train?${new URLSearchParams(query)}`, {
    method: "POST",
    body: file,
    type: zip ? "application/zip" : "text/csv",
    signal,
  });
  for await (const { event, data } of events(`v1/train/${encodeURIComponent(job)}`, signal)) {
    if (event === "schema") said.textContent = t("train.read");
    else if (event === "progress") {
      said.textContent = t("train.pass", {
        pass: data.pass,
        gap: data.gap === null || data.gap === undefined ? "–" : few(data.gap, 2),
      });
      if (data.gap > 0) {
        gaps.push([data.pass, Math.log10(data.gap)]);
        fill(more, gapChart(gaps));
      }
    } else if (event === "failed") fill(result, el("p", { class: "warn", role: "alert" }, name(data.what, 600)));
    else if (event === "done") {
      done(data, result);
      return;
    }
  }
}

function gapChart(gaps) {
  const logs = gaps.map(([, log]) => log);
  const low = Math.floor(Math.min(...logs)),
    high = Math.max(Math.ceil(Math.max(...logs)), low + 1);
  const frame = new Frame({
    left: 52,
    top: 10,
    right: 350,
    bottom: 150,
    x: [gaps[0][0], Math.max(gaps.at(-1)[0], gaps[0][0] + 1)],
    y: [low, high],
  });
  return el(
    "figure",
    {},
    picture(
      360,
      196,
      t("train.curve"),
      t("train.curve.desc"),
      frame.grid(ticks(...frame.x).filter(Number.isInteger), ticks(low, high, 4).filter(Number.isInteger), (v) => few(v)),
      svg("path", { class: "line s0", d: curvePath(gaps.map((point) => frame.point(...point))) }),
      frame.axisName(t("train.curve.x")),
      frame.sideName(t("train.curve.y")),
    ),
  );
}

function done({ model, held_out: held }, result) {
  const save = async () => download(await askFile(of(model, "file")), `${model}.luce`);
  fill(
    result,
    el(
      "section",
      { role: "status" },
      el("h2", {}, say("train.done", { model: name(model) })),
      held ? el("p", {}, t("train.held", { share: percent(held.accuracy), rows: held.rows })) : null,
      el(
        "p",
        { class: "buttons" },
        el("a", { class: "button main-button", href: `#/try/${encodeURIComponent(model)}` }, t("view.try")),
        el("a", { class: "button", href: `#/trust/${encodeURIComponent(model)}` }, t("view.trust")),
        el("button", { type: "button", onclick: save }, t("train.save")),
      ),
    ),
  );
  dispatchEvent(new Event("luce-trained"));
}
