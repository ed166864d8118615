// Elements from plain values: names and cells are only ever text nodes.

const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in PROPERTIES) node[name] = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const PROPERTIES = { value: 1, checked: 1, disabled: 1, hidden: 1, selected: 1 };

/** An element. attributes: onX is a listener, true a bare attribute, false and null none. */
export const el = (tag, attributes, ...children) => made(document.createElement(tag), attributes, children);

/** An element of a picture. */
export const svg = (tag, attributes, ...children) => made(document.createElementNS(SVG, tag), attributes, children);

const TURNS = /[\u202a-\u202e\u2066-\u2069]/g; // marks that turn what follows: shown, as they would lie about it

const shownName = (value) => String(value).replace(TURNS, (mark) => `\\u${mark.charCodeAt(0).toString(16)}`);
const cut = (whole, most) => (whole.length > most ? `${whole.slice(0, most - 1)}…` : whole);

/** The text of a name where no element can stand: in an option, a label. */
export const plainName = (value, most = 60) => cut(shownName(value), most);

/** The text of a name from the data, kept apart from the direction of the text around it. */
export function name(value, most = 60) {
  const whole = shownName(value);
  const short = cut(whole, most);
  return el("bdi", { class: "name", title: short === whole ? null : whole }, short);
}

let made_ids = 0;
export const id = (stem) => `${stem}-${(made_ids += 1)}`;

/** Puts new children in place of the old ones. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** A bar from the left; `to(share)` moves it. */
export function bar(share = 0, kind = "") {
  const inner = el("span", { class: `fill ${kind}` });
  const node = el("span", { class: "track", "aria-hidden": "true" }, inner);
  node.to = (value) => {
    inner.style.width = `${100 * Math.min(Math.max(value, 0), 1)}%`;
  };
  node.to(share);
  return node;
}

/** A bar from the middle, to the right above 0 and to the left below; share in [-1, 1]. */
export function signedBar(share = 0) {
  const inner = el("span", { class: "fill" });
  const node = el("span", { class: "track signed", "aria-hidden": "true" }, inner);
  node.to = (value) => {
    const size = 50 * Math.min(Math.abs(value), 1);
    inner.style.width = `${size}%`;
    inner.style.left = `${value < 0 ? 50 - size : 50}%`;
    inner.classList.toggle("less", value < 0);
  };
  node.to(share);
  return node;
}

// --- numbers -----------------------------------------------------------------

const minus = (text) => text.replace("-", "−");

/** A number with so many decimals; never "−0.00". */
export function fixed(value, decimals = 3) {
  const text = value.toFixed(decimals);
  return minus(Number(text) === 0 ? text.replace("-", "") : text);
}

const RAISED = { "-": "⁻", "+": "" };

/** As 1.4 × 10⁻⁸. */
function powerOfTen(value, figures) {
  const [mantissa, power] = value.toExponential(Math.min(figures, 3) - 1).split("e");
  return minus(`${Number(mantissa)} × 10${[...power].map((c) => RAISED[c] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("")}`);
}

/** A number in a few figures. */
export function few(value, figures = 4) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "–";
  const size = Math.abs(value);
  if (value !== 0 && (size >= 1e6 || size < 1e-4)) return powerOfTen(value, figures);
  return rounded(value, figures);
}

/** A number to so many figures, without a power of ten where it can be. */
export const rounded = (value, figures = 7) => minus(String(Number(value.toPrecision(figures))));

export const signed = (value, decimals = 2) =>
  (value > 0 && Number(value.toFixed(decimals)) > 0 ? "+" : "") + fixed(value, decimals);

/** A share in hundredths, never 100.0 % or 0.0 % where it is not. */
export function percent(value, decimals = 1) {
  const text = (100 * value).toFixed(decimals);
  if (value < 1 && Number(text) === 100) return `>${(100 - 10 ** -decimals).toFixed(decimals)} %`;
  if (value > 0 && Number(text) === 0) return `<${(10 ** -decimals).toFixed(decimals)} %`;
  return `${text} %`;
}

export const count = (value) => Math.round(value).toLocaleString("en");

/** Calls with the last arguments once no call came for so long. */
export function later(call, milliseconds) {
  let timer = 0;
  const wait = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), milliseconds);
  };
  wait.stop = () => clearTimeout(timer);
  return wait;
}

/** A place that takes files by drop or by choice. take(file, all files); accept: as of an input. */
export function dropZone(said, take, accept, multiple = false) {
  const given = (files) => {
    if (files.length) take(files[0], [...files]);
  };
  const input = el("input", {
    type: "file",
    accept,
    multiple,
    class: "file-input",
    onchange: () => {
      given(input.files);
      input.value = "";
    },
  });
  const zone = el("label", { class: "drop" }, el("span", {}, said), input);
  for (const kind of ["dragenter", "dragover"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    given(event.dataTransfer.files);
  });
  return zone;
}

/** Gives the person a file. */
export function download(blob, file) {
  const address = URL.createObjectURL(blob);
  const link = el("a", { href: address, download: file });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}
