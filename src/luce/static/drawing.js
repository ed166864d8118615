// A canvas to draw on, and the picture that a model of small digits gets from it.

import { el } from "./dom.js";
import { t } from "./texts.js";

const SIDE = 280; // of the canvas, in its own units
const PEN = 20;
const KEPT = 40; // strokes that can be undone
const BOX = 20 / 28; // of the side, that the strokes fill: as in MNIST

/**
 * The drawing as a model wants it: the box round the strokes is scaled so that its longer side fills 20 of 28 parts,
 * and is put so that the centre of mass lies in the middle, as in MNIST.
 * ink: canvas whose alpha is the ink. Returns a canvas of width x height with paper and ink, or null without a stroke.
 */
export function centred(ink, { width, height, lightOnDark }) {
  const box = strokes(ink);
  if (!box) return null;
  const scale = Math.min((BOX * width) / box.width, (BOX * height) / box.height);
  const shrunk = reduced(
    ink,
    box,
    Math.max(1, Math.round(box.width * scale)),
    Math.max(1, Math.round(box.height * scale)),
  );
  const [x, y] = centreOfMass(shrunk);
  const out = el("canvas", { width, height });
  const c = out.getContext("2d");
  c.drawImage(shrunk, Math.round(width / 2 - x), Math.round(height / 2 - y));
  return onPaper(out, lightOnDark);
}

function pixels(canvas) {
  return canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height);
}

function strokes(canvas) {
  const { data, width, height } = pixels(canvas);
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let k = 3, at = 0; k < data.length; k += 4, at += 1) {
    if (data[k] < 8) continue;
    const x = at % width,
      y = (at - x) / width;
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** The box of the canvas, smaller: halved as long as that is possible, so that no stroke is skipped over. */
function reduced(canvas, { left, top, width, height }, wide, tall) {
  let now = canvas,
    at = [left, top, width, height];
  while (at[2] > 2 * wide || at[3] > 2 * tall) {
    const next = [Math.max(wide, Math.ceil(at[2] / 2)), Math.max(tall, Math.ceil(at[3] / 2))];
    now = scaled(now, at, ...next);
    at = [0, 0, ...next];
  }
  return scaled(now, at, wide, tall);
}

function scaled(canvas, from, width, height) {
  const out = el("canvas", { width, height });
  const c = out.getContext("2d");
  c.imageSmoothingEnabled = true;
  c.imageSmoothingQuality = "high";
  c.drawImage(canvas, ...from, 0, 0, width, height);
  return out;
}

function centreOfMass(canvas) {
  const { data, width } = pixels(canvas);
  let mass = 0,
    x = 0,
    y = 0;
  for (let k = 3, at = 0; k < data.length; k += 4, at += 1) {
    mass += data[k];
    x += data[k] * ((at % width) + 0.5);
    y += data[k] * (Math.floor(at / width) + 0.5);
  }
  return [x / mass, y / mass];
}

/** Grey pixels: the alpha as light on dark, or dark on light. */
function onPaper(canvas, lightOnDark) {
  const image = pixels(canvas);
  for (let k = 0; k < image.data.length; k += 4) {
    const grey = lightOnDark ? image.data[k + 3] : 255 - image.data[k + 3];
    image.data.set([grey, grey, grey, 255], k);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** A canvas for pen, finger and mouse. changed(picture): the centred picture as a canvas, null when it is clear. */
export function drawing(column, changed) {
  const want = { width: column.width, height: column.height, lightOnDark: column.ink === "light on dark" };
  const board = el("canvas", { class: "board", width: SIDE, height: SIDE, role: "img", "aria-label": t("draw.board") });
  board.classList.toggle("dark", want.lightOnDark);
  const c = board.getContext("2d", { willReadFrequently: true });
  const ink = want.lightOnDark ? "#fff" : "#000";
  Object.assign(c, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: ink, fillStyle: ink });
  const undo = [];
  let last = null;

  const at = (event) => {
    const box = board.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  };
  const tell = () => changed(centred(board, want));
  const stroke = (to) => {
    c.beginPath();
    c.arc(...to, PEN / 2, 0, 2 * Math.PI);
    c.fill();
    c.beginPath();
    c.moveTo(...last);
    c.lineTo(...to);
    c.stroke();
    last = to;
  };
  board.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    board.setPointerCapture(event.pointerId);
    undo.push(c.getImageData(0, 0, SIDE, SIDE));
    if (undo.length > KEPT) undo.shift();
    last = at(event);
    stroke(last);
    tell();
  });
  board.addEventListener("pointermove", (event) => {
    if (!last) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) stroke(at(each));
    tell();
  });
  for (const kind of ["pointerup", "pointercancel"])
    board.addEventListener(kind, () => {
      if (last) {
        last = null;
        tell();
      }
    });
  const clear = () => {
    undo.length = 0;
    c.clearRect(0, 0, SIDE, SIDE);
  };
  const back = () => {
    if (undo.length) {
      c.putImageData(undo.pop(), 0, 0);
      tell();
    }
  };
  const node = el(
    "div",
    { class: "drawing" },
    board,
    el(
      "p",
      { class: "buttons" },
      el("button", { type: "button", onclick: back }, t("draw.undo")),
      el(
        "button",
        {
          type: "button",
          onclick: () => {
            clear();
            tell();
          },
        },
        t("draw.clear"),
      ),
    ),
  );
  return { node, clear };
}
