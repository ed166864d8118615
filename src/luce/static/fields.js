// The fields of a form, one a column of the model: each knows its cell, and shows what was wrong with it.

import { dropZone, el, few, id, name, percent, plainName } from "./dom.js";
import { histogram } from "./charts.js";
import { drawing } from "./drawing.js";
import { t } from "./texts.js";

const RADIOS = 5; // choices that are shown side by side
const LISTED = 80; // levels of a list to choose from; of more one is typed
const STEPS = 200; // of a slider
const THICK = 0.04; // of the width: a bar of one value at most
const LARGE = 1600; // pixels a side, to which a larger photograph is made smaller

/**
 * A field. column: of the description; cell: its value to begin with; changed(): called when it has another.
 * Gives {node, cell(), fault(text)}: cell() is undefined while the field holds nothing that can be sent.
 */
export function field(column, cell, changed) {
  const made = KINDS[column.kind](column, cell, changed);
  const error = el("p", { class: "field-error", id: id("error"), role: "alert", hidden: true });
  const inputs = () => made.node.querySelectorAll("input, select, textarea");
  const fault = (text) => {
    error.hidden = !text;
    error.textContent = text ?? "";
    for (const input of inputs()) {
      if (text) {
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-describedby", error.id);
      } else {
        input.removeAttribute("aria-invalid");
        input.removeAttribute("aria-describedby");
      }
    }
  };
  const node = el(
    made.group ? "fieldset" : "div",
    { class: `field of-${column.kind}`, "data-column": column.name },
    el(
      made.group ? "legend" : "label",
      { class: "field-head", for: made.group ? null : made.id },
      name(column.name, 80),
    ),
    made.node,
    error,
  );
  return { node, fault, cell: made.cell };
}

const KINDS = {
  number,
  boolean: (column, ...rest) => choice({ ...column, levels: [true, false].map((level) => ({ level })) }, ...rest),
  category: choice,
  date,
  text,
  image,
  embedding,
};

const shareOf = (share) => (share ? el("small", {}, percent(share, 0)) : null);

/** The box that says that a cell is missing; null for a column that always had one. */
function missingBox(column, checked, changed) {
  if (!column.missing) return null;
  const input = el("input", { type: "checkbox", checked, onchange: () => changed(input.checked) });
  input.box = el("label", { class: "check missing" }, input, t("missing"), shareOf(column.missing_share));
  return input;
}

// --- numbers and dates -------------------------------------------------------

/** About so many steps of a round size, whole where the column is. */
function stepOf({ low, high, whole }) {
  const rough = (high - low) / STEPS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((m) => m * power).find((each) => each >= rough * 0.999);
  return whole ? Math.max(1, Math.round(size)) : size;
}

function number(column, cell, changed) {
  const own = id("field");
  const ranged = Number.isFinite(column.low) && Number.isFinite(column.high) && column.high > column.low;
  const input = el("input", {
    type: "number",
    id: own,
    step: column.whole ? 1 : "any",
    class: "figure",
    inputmode: "decimal",
  });
  const slide = ranged
    ? el("input", {
        type: "range",
        min: column.low,
        max: column.high,
        step: stepOf(column),
        "aria-label": t("slider.of", { name: plainName(column.name) }),
      })
    : null;
  const mark = el("span", { class: "mark-at" });
  const outside = el("p", { class: "quiet outside", hidden: true });
  const missing = missingBox(column, cell === null, (on) => {
    if (!on) put(kept);
    show();
    changed();
  });
  let kept = cell ?? column.typical ?? column.low ?? 0;

  const put = (value) => {
    input.value = column.whole ? Math.round(value) : Number(Number(value).toPrecision(7));
  };
  const show = () => {
    const gone = Boolean(missing?.checked);
    const value = Number(input.value);
    if (gone) input.value = "";
    else if (input.value !== "") kept = value;
    if (slide) {
      if (!gone && input.value !== "") slide.value = value;
      slide.disabled = gone;
      mark.style.left = `${100 * Math.min(Math.max((value - column.low) / (column.high - column.low), 0), 1)}%`;
      mark.hidden = gone || input.value === "";
    }
    const off = ranged && !gone && input.value !== "" && (value < column.low || value > column.high);
    outside.hidden = !off;
    outside.textContent = off ? t("outside", { low: few(column.low), high: few(column.high) }) : "";
  };
  input.addEventListener("input", () => {
    if (missing) missing.checked = input.value === "" && !input.validity.badInput;
    show();
    changed();
  });
  slide?.addEventListener("input", () => {
    if (missing) missing.checked = false;
    put(slide.value);
    show();
    changed();
  });
  if (cell !== null) put(kept);
  else if (slide) slide.value = kept;
  show();
  const shape = ranged && column.histogram ? el("div", { class: "shape" }, shapeOf(column), mark) : null;
  const ends = ranged
    ? el(
        "div",
        { class: "ends", "aria-hidden": "true" },
        el("span", {}, few(column.low)),
        el("span", {}, few(column.high)),
      )
    : null;
  const node = el(
    "div",
    { class: "number-field" },
    el("div", { class: "ranged" }, shape, slide, ends),
    el("div", { class: "figure-line" }, input, missing?.box),
    outside,
  );
  return {
    node,
    id: own,
    cell: () => (missing?.checked ? null : input.value === "" ? undefined : Number(input.value)),
  };
}

/** The histogram of a column: a bar a value where there are few, else a bar a bin. */
function shapeOf({ low, high, histogram: { values, edges, shares } }) {
  const at = (value) => (value - low) / (high - low);
  if (!values) return histogram(shares.map((share, k) => ({ share, from: at(edges[k]), to: at(edges[k + 1]) })));
  const places = values.map(at);
  const near = Math.min(...places.slice(1).map((place, k) => place - places[k]));
  const half = Math.min(0.35 * near, THICK / 2);
  return histogram(shares.map((share, k) => ({ share, from: places[k] - half, to: places[k] + half })));
}

function date(column, cell, changed) {
  const own = id("field");
  const input = el("input", {
    type: "date",
    id: own,
    onchange: () => {
      if (missing) missing.checked = input.value === "";
      changed();
    },
  });
  const missing = missingBox(column, cell === null, (on) => {
    input.value = on ? "" : (column.typical ?? column.low ?? "");
    changed();
  });
  input.value = cell ?? "";
  const span =
    column.low && column.high
      ? el("p", { class: "quiet outside" }, t("dates.seen", { low: column.low.slice(0, 4), high: column.high.slice(0, 4) }))
      : null;
  const node = el("div", {}, el("div", { class: "figure-line" }, input, missing?.box), span);
  return { node, id: own, cell: () => (missing?.checked ? null : input.value || undefined) };
}

// --- choices -----------------------------------------------------------------

const shown = (level) => (level === true ? t("yes") : level === false ? t("no") : level);

function choice(column, cell, changed) {
  const choices = [
    ...column.levels.map((each) => ({ ...each, said: shown(each.level) })),
    ...(column.missing ? [{ level: null, said: t("missing"), share: column.missing_share || null }] : []),
  ];
  if (choices.length <= RADIOS) return radios(choices, cell, changed);
  return column.levels.length <= LISTED ? list(choices, cell, changed) : typed(column, cell, changed);
}

function radios(choices, cell, changed) {
  const group = id("group");
  const inputs = choices.map(({ level }) =>
    el("input", { type: "radio", name: group, checked: level === cell, onchange: changed }),
  );
  const node = el(
    "div",
    { class: "pills" },
    choices.map(({ level, said, share }, k) =>
      el(
        "label",
        { class: level === null ? "pill missing" : "pill" },
        inputs[k],
        level === null ? said : name(said, 32),
        share == null ? null : el("small", {}, percent(share, 0)),
      ),
    ),
  );
  return { node, group: true, cell: () => choices[inputs.findIndex((input) => input.checked)]?.level };
}

function list(choices, cell, changed) {
  const own = id("field");
  const at = choices.findIndex(({ level }) => level === cell);
  const node = el(
    "select",
    { id: own, onchange: changed },
    choices.map(({ said, share }, k) =>
      el(
        "option",
        { value: k, selected: k === at },
        share == null ? plainName(said) : `${plainName(said)} · ${percent(share, 0)}`,
      ),
    ),
  );
  if (at < 0) node.selectedIndex = -1;
  return { node, id: own, cell: () => choices[node.selectedIndex]?.level };
}

function typed(column, cell, changed) {
  const own = id("field");
  const options = id("levels");
  const input = el("input", {
    type: "text",
    id: own,
    list: options,
    value: cell ?? "",
    autocomplete: "off",
    oninput: () => {
      if (missing) missing.checked = input.value === "";
      changed();
    },
  });
  const missing = missingBox(column, cell === null, (on) => {
    input.value = on ? "" : (column.typical ?? "");
    changed();
  });
  const node = el(
    "div",
    {},
    el("div", { class: "figure-line" }, input, missing?.box),
    el(
      "datalist",
      { id: options },
      column.levels.map(({ level }) => el("option", { value: level })),
    ),
  );
  return { node, id: own, cell: () => (missing?.checked ? null : input.value || undefined) };
}

// --- texts and images --------------------------------------------------------

function text(column, cell, changed) {
  const own = id("field");
  const node = el("textarea", { id: own, rows: 5, oninput: changed });
  node.value = cell ?? "";
  return { node, id: own, cell: () => node.value };
}

/** Numbers, as many as the model reads, with blanks or commas between them. */
function embedding(column, cell, changed) {
  const own = id("field");
  const node = el("textarea", { id: own, rows: 5, placeholder: `${column.width} × 0.0`, oninput: changed });
  node.value = (cell ?? []).join(", ");
  const read = () => {
    const found = node.value.split(/[\s,;[\]]+/).filter(Boolean).map(Number);
    return found.length === column.width && found.every(Number.isFinite) ? found : undefined;
  };
  return { node, id: own, cell: read };
}

function image(column, cell, changed) {
  let now = cell ?? undefined;
  const seen = el("canvas", { class: "seen", role: "img", "aria-label": t("image.seen") });
  const told = el("p", { class: "quiet" });
  const preview = el("div", { class: "preview", hidden: true }, seen, told);
  const put = (canvas, said, data = canvas?.toDataURL("image/png")) => {
    now = canvas ? data : undefined;
    preview.hidden = !canvas;
    if (canvas) {
      Object.assign(seen, { width: canvas.width, height: canvas.height });
      seen.getContext("2d").drawImage(canvas, 0, 0);
      seen.classList.toggle("coarse", canvas.width < 100);
    }
    told.textContent = said;
    changed();
  };
  const size = { width: column.width, height: column.height };
  const board = column.ink ? drawing(column, (canvas) => put(canvas, t("draw.centred", size))) : null;
  const take = async (file) => {
    try {
      const canvas = await decoded(file);
      board?.clear();
      put(
        canvas,
        t("image.file", { file: plainName(file.name), width: canvas.width, height: canvas.height }),
        await dataOf(file, canvas),
      );
    } catch {
      told.textContent = "";
      fault(t("image.bad", { file: plainName(file.name) }));
    }
  };
  const error = el("p", { class: "field-error", role: "alert", hidden: true });
  const fault = (said) => {
    error.hidden = !said;
    error.textContent = said;
  };
  const zone = dropZone(
    t(column.ink ? "image.drop.or" : "image.drop"),
    (file) => {
      fault("");
      take(file);
    },
    "image/*",
  );
  const node = el(
    "div",
    { class: "image-field" },
    board ? el("p", { class: "quiet" }, t("draw.how")) : null,
    el("div", { class: "drawn" }, board?.node, preview),
    zone,
    error,
  );
  return { node, group: true, cell: () => now };
}

async function decoded(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LARGE / Math.max(bitmap.width, bitmap.height));
  const size = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(scale * side)));
  const canvas = el("canvas", { width: size[0], height: size[1] });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, ...size);
  return canvas;
}

/** A PNG file as it is, any other image as the PNG of its pixels. */
async function dataOf(file, canvas) {
  if (file.type !== "image/png") return canvas.toDataURL("image/png");
  return new Promise((done, failed) => {
    const reader = new FileReader();
    Object.assign(reader, { onload: () => done(reader.result), onerror: failed });
    reader.readAsDataURL(file);
  });
}
