// Training before one's eyes: points of three classes in the plane, gradient descent, regions and the loss.

import { el, few, fill, fixed, id, percent, svg } from "./dom.js";
import { curvePath, Frame, line, picture, ticks } from "./charts.js";
import { blank, featuresOf, logits, measure, random, softmax, stepped } from "./softmax.js";
import { t } from "./texts.js";

const LETTERS = ["A", "B", "C"];
const SIZE = 360; // of the canvas, in its own units
const CELLS = 60; // a side, of the coloured regions
const CALM = 500; // milliseconds between pictures where less motion is wanted
const KEPT = 400; // points of the loss curve

const CLOUDS = [
  [-0.5, -0.4],
  [0.5, -0.35],
  [0, 0.55],
];

const PRESETS = {
  apart: (r) => around(r, 0.17),
  mixed: (r) => around(r, 0.36),
  rings: (r) =>
    Array.from({ length: 90 }, (_, k) => {
      const angle = 2 * Math.PI * r();
      const far = [0.15, 0.48, 0.82][k % 3] + 0.07 * (r() - 0.5);
      return { at: [far * Math.cos(angle), far * Math.sin(angle)], code: k % 3 };
    }),
};

const normal = (r) => Math.sqrt(-2 * Math.log(1 - r())) * Math.cos(2 * Math.PI * r());
const inside = (value) => Math.min(Math.max(value, -0.97), 0.97);

const around = (r, spread) =>
  Array.from({ length: 90 }, (_, k) => ({
    at: CLOUDS[k % 3].map((middle) => inside(middle + spread * normal(r))),
    code: k % 3,
  }));

const state = {
  preset: "apart",
  points: PRESETS.apart(random(1)),
  squares: false,
  rate: 0.5,
  speed: 5,
  code: 0,
  weights: null,
  steps: 0,
  losses: [],
};

function restart() {
  state.weights = blank(LETTERS.length, state.squares);
  state.steps = 0;
  state.losses = [];
}

export function trainer() {
  if (!state.weights) restart();
  const canvas = el("canvas", {
    class: "plane",
    tabindex: "0",
    role: "application",
    "aria-label": t("train2d.plane"),
    "aria-describedby": "plane-help",
  });
  const chart = el("figure", { class: "loss-chart" });
  const [steps, loss, right] = ["steps", "loss", "right"].map((key) =>
    el("output", { class: "number", id: `plane-${key}` }),
  );
  const live = el("p", { class: "hidden-text", "aria-live": "polite" });
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let running = false,
    wanted = 0,
    last = 0,
    cross = null;

  const refresh = () => {
    paint(canvas, cross);
    const now = measured();
    steps.textContent = String(state.steps);
    loss.textContent = now ? fixed(now.loss, 4) : "–";
    right.textContent = now ? percent(now.right) : "–";
    fill(chart, lossChart());
  };
  const advance = (count) => {
    for (let k = 0; k < count && state.points.length; k += 1) {
      const now = measured();
      state.losses.push([state.steps, now.loss]);
      if (state.losses.length > KEPT) state.losses = state.losses.filter((_, j) => j % 2 === 0);
      state.weights = stepped(state.weights, now.gradient, state.rate);
      state.steps += 1;
    }
    refresh();
  };
  const tick = (time) => {
    if (!running) return;
    if (!calm.matches || time - last > CALM) {
      last = time;
      advance(calm.matches ? 10 * state.speed : state.speed);
    }
    wanted = requestAnimationFrame(tick);
  };
  const run = (on) => {
    running = on && state.points.length > 0;
    cancelAnimationFrame(wanted);
    start.textContent = t(running ? "train2d.pause" : "train2d.run");
    start.setAttribute("aria-pressed", String(running));
    if (running) wanted = requestAnimationFrame(tick);
    else if (!on)
      live.textContent = t("train2d.now", {
        steps: steps.textContent,
        loss: loss.textContent,
        right: right.textContent,
      });
  };
  const start = el(
    "button",
    { type: "button", class: "main-button", id: "plane-run", onclick: () => run(!running) },
    t("train2d.run"),
  );
  const again = () => {
    run(false);
    restart();
    refresh();
  };
  const buttons = [
    start,
    el(
      "button",
      {
        type: "button",
        id: "plane-step",
        onclick: () => {
          run(false);
          advance(1);
          run(false);
        },
      },
      t("train2d.step"),
    ),
    el("button", { type: "button", id: "plane-reset", onclick: again }, t("train2d.reset")),
    el(
      "button",
      {
        type: "button",
        id: "plane-clear",
        onclick: () => {
          state.points = [];
          state.preset = "";
          presets.value = "";
          again();
        },
      },
      t("train2d.clear"),
    ),
  ];

  const presets = el(
    "select",
    {
      id: "plane-preset",
      onchange: () => {
        if (presets.value) take(presets.value);
      },
    },
    el("option", { value: "" }, t("train2d.own")),
    Object.keys(PRESETS).map((key) => el("option", { value: key }, t(`train2d.${key}`))),
  );
  presets.value = state.preset;
  const take = (preset) => {
    state.preset = preset;
    state.points = PRESETS[preset](random(1));
    again();
  };
  const add = (at) => {
    state.points.push({ at: at.map(inside), code: state.code });
    state.preset = presets.value = "";
    refresh();
  };
  canvas.addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect();
    add([(2 * (event.clientX - box.left)) / box.width - 1, 1 - (2 * (event.clientY - box.top)) / box.height]);
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] }[event.key];
    if (move) cross = (cross ?? [0, 0]).map((value, k) => inside(value + move[k]));
    else if ((event.key === "Enter" || event.key === " ") && cross) add(cross);
    else return;
    event.preventDefault();
    paint(canvas, cross);
    live.textContent = t("train2d.at", { x: fixed(cross[0], 2), y: fixed(cross[1], 2), points: state.points.length });
  });
  canvas.addEventListener("blur", () => {
    cross = null;
    paint(canvas, cross);
  });
  dark.addEventListener("change", refresh);

  const classes = el(
    "div",
    { class: "pills", role: "radiogroup", "aria-label": t("train2d.class") },
    LETTERS.map((letter, k) =>
      el(
        "label",
        { class: "pill" },
        el("input", {
          type: "radio",
          name: "plane-class",
          checked: k === state.code,
          onchange: () => {
            state.code = k;
          },
        }),
        sample(k),
        letter,
      ),
    ),
  );
  const squares = el(
    "label",
    { class: "check" },
    el("input", {
      type: "checkbox",
      id: "plane-squares",
      checked: state.squares,
      onchange: (event) => {
        state.squares = event.target.checked;
        again();
      },
    }),
    t("train2d.squares"),
  );
  const heading = id("part");
  const node = el(
    "section",
    { "aria-labelledby": heading },
    el("h2", { id: heading }, t("train2d")),
    el("p", {}, t("train2d.about")),
    el(
      "div",
      { class: "panel beside-chart" },
      el("div", {}, canvas, el("p", { class: "quiet", id: "plane-help" }, t("train2d.help"))),
      el(
        "div",
        {},
        el(
          "p",
          { class: "field-line" },
          el("label", { for: "plane-preset", class: "field-name" }, t("train2d.points")),
          presets,
        ),
        el("div", { class: "field-line" }, el("span", { class: "field-name" }, t("train2d.class")), classes),
        squares,
        scale("train2d.rate", {
          min: -2,
          max: 1,
          step: 0.05,
          value: Math.log10(state.rate),
          show: (v) => few(10 ** v, 2),
          change: (v) => {
            state.rate = 10 ** v;
          },
        }),
        scale("train2d.speed", {
          min: 1,
          max: 50,
          step: 1,
          value: state.speed,
          show: String,
          change: (v) => {
            state.speed = v;
          },
        }),
        el("p", { class: "buttons" }, buttons),
        el(
          "dl",
          { class: "readings" },
          [
            ["train2d.steps", steps],
            ["train2d.loss", loss],
            ["train2d.right", right],
          ].map(([key, output]) => el("div", {}, el("dt", {}, t(key)), el("dd", {}, output))),
        ),
        chart,
        live,
      ),
    ),
  );
  refresh();
  return {
    node,
    leave: () => {
      run(false);
      dark.removeEventListener("change", refresh);
    },
  };
}

const measured = () => (state.points.length ? measure(state.weights, state.points, state.squares) : null);

function scale(key, { show, change, value, ...more }) {
  const number = el("output", { class: "number" }, show(value));
  const input = el("input", { type: "range", id: key.replace(".", "-"), ...more });
  input.value = value;
  input.addEventListener("input", () => {
    change(Number(input.value));
    number.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", number.textContent);
  });
  input.setAttribute("aria-valuetext", show(value));
  return el("label", { class: "slider" }, el("span", {}, t(key)), input, number);
}

function lossChart() {
  const points = [...state.losses];
  const now = measured();
  if (now) points.push([state.steps, now.loss]);
  const high = Math.max(1.2, ...points.map((point) => Math.min(point[1], 5)));
  const frame = new Frame({
    left: 40,
    top: 8,
    right: 350,
    bottom: 110,
    x: [0, Math.max(10, state.steps)],
    y: [0, high],
  });
  const places = points.map(([x, y]) => frame.point(x, Math.min(y, high)));
  return picture(
    360,
    152,
    t("train2d.curve"),
    t("train2d.curve.desc"),
    frame.grid(ticks(...frame.x, 4), ticks(0, high, 3)),
    line("axis", frame.left, frame.bottom, frame.right, frame.bottom),
    svg("path", { class: "line s0", d: curvePath(places) }),
    places.slice(-1).map(([x, y]) => svg("circle", { class: "dot", cx: x, cy: y, r: 3.5 })),
    frame.axisName(t("train2d.steps")),
  );
}

// --- the canvas --------------------------------------------------------------

const SHAPES = [
  (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
  (c, x, y, r) => c.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r),
  (c, x, y, r) => {
    c.moveTo(x, y - 1.15 * r);
    c.lineTo(x + 1.05 * r, y + 0.8 * r);
    c.lineTo(x - 1.05 * r, y + 0.8 * r);
    c.closePath();
  },
];

const sample = (k) =>
  svg(
    "svg",
    { class: `sample shape-${k}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
    [
      svg("circle", { cx: 8, cy: 8, r: 5 }),
      svg("rect", { x: 3.5, y: 3.5, width: 9, height: 9 }),
      svg("path", { d: "M8 2l6 11H2z" }),
    ][k],
  );

/** The colours of the style sheet as [r, g, b]. */
function colours() {
  const style = getComputedStyle(document.documentElement);
  const parsed = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const whole = hex.length === 3 ? [...hex].map((digit) => digit + digit).join("") : hex;
    return [0, 2, 4].map((k) => parseInt(whole.slice(k, k + 2), 16));
  };
  return { classes: ["--s0", "--s1", "--s2"].map(parsed), paper: parsed("--card"), ink: parsed("--ink") };
}

const rgb = (colour) => `rgb(${colour.join(" ")})`;

function paint(canvas, cross) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  if (canvas.width !== SIZE * ratio) canvas.width = canvas.height = SIZE * ratio;
  const c = canvas.getContext("2d");
  const { classes, paper, ink } = colours();
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.imageSmoothingEnabled = true;
  c.drawImage(regions(classes, paper), 0, 0, SIZE, SIZE);
  const to = ([x, y]) => [((x + 1) / 2) * SIZE, ((1 - y) / 2) * SIZE];
  for (const { at, code } of state.points) {
    c.beginPath();
    SHAPES[code](c, ...to(at), 5);
    c.fillStyle = rgb(classes[code]);
    c.strokeStyle = rgb(paper);
    c.lineWidth = 1.5;
    c.fill();
    c.stroke();
  }
  if (cross) {
    const [x, y] = to(cross);
    c.beginPath();
    for (const [dx, dy] of [
      [10, 0],
      [0, 10],
    ]) {
      c.moveTo(x - dx, y - dy);
      c.lineTo(x + dx, y + dy);
    }
    c.strokeStyle = rgb(ink);
    c.lineWidth = 2;
    c.stroke();
  }
}

/** The plane in the colours of the classes, mixed by their shares: the paper where all are equal. */
function regions(classes, paper) {
  const small = el("canvas", { width: CELLS, height: CELLS });
  const c = small.getContext("2d");
  const image = c.createImageData(CELLS, CELLS);
  for (let row = 0; row < CELLS; row += 1) {
    for (let column = 0; column < CELLS; column += 1) {
      const at = [(2 * (column + 0.5)) / CELLS - 1, 1 - (2 * (row + 0.5)) / CELLS];
      const p = softmax(logits(state.weights, featuresOf(at, state.squares)));
      const best = p.indexOf(Math.max(...p));
      const depth = (0.45 * (p[best] - 1 / 3)) / (2 / 3);
      for (let k = 0; k < 3; k += 1)
        image.data[4 * (row * CELLS + column) + k] = paper[k] + depth * (classes[best][k] - paper[k]);
      image.data[4 * (row * CELLS + column) + 3] = 255;
    }
  }
  c.putImageData(image, 0, 0);
  return small;
}
