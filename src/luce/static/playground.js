// Softmax by hand: logits, temperature, shares, the sigmoid, the loss and its gradient; the training is in trainer.js.

import { bar, el, few, fill, fixed, id, name, signed, signedBar, svg } from "./dom.js";
import { crossEntropy, sigmoid, softmax } from "./softmax.js";
import { t } from "./texts.js";
import { curvePath, Frame, picture } from "./charts.js";
import { trainer } from "./trainer.js";

const REACH = 5; // of a logit's slider
const MOST = 8; // classes
const START = [0.25, 1.23, -0.8];
const RATE = 0.5; // of the step against the gradient

const state = { classes: null, temperature: 1, truth: 0, pair: [1, -0.5] };

const begin = () => {
  state.classes = START.map((z, k) => ({ name: null, start: k, z }));
  Object.assign(state, { temperature: 1, truth: 0 });
};

const nameOf = (each, k) => each.name ?? (each.start === null ? t("class.n", { n: k + 1 }) : t(`start.${each.start}`));

export function draw(main) {
  if (!state.classes) begin();
  const loss = lossPart(() => shares.refresh());
  const shares = sharesPart(() => loss.refresh());
  const training = trainer();
  main.append(
    el("h1", {}, t("softmax.title")),
    el("p", { class: "lead" }, t("softmax.lead")),
    shares.node,
    loss.node,
    sigmoidPart(),
    training.node,
  );
  loss.refresh();
  return training.leave;
}

const section = (key, ...children) => {
  const heading = id("part");
  return el(
    "section",
    { "aria-labelledby": heading },
    el("h2", { id: heading }, t(key)),
    el("p", {}, t(`${key}.about`)),
    children,
  );
};

/** A slider with its number; `show(value)` is the text of the number. */
function slider(said, { value, min, max, step, show, change, ...more }) {
  const input = el("input", { type: "range", min, max, step, ...more });
  input.value = value;
  const number = el("output", { class: "number" });
  const told = () => {
    number.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", number.textContent);
  };
  input.addEventListener("input", () => {
    told();
    change(Number(input.value));
  });
  told();
  const node = el("label", { class: "slider" }, el("span", {}, said), input, number);
  node.to = (next) => {
    input.value = next;
    told();
  };
  return node;
}

// --- logits to shares --------------------------------------------------------

function sharesPart(changed) {
  const rows = el("ol", { class: "logits" });
  const total = el("output", { class: "number" });
  const live = el("p", { class: "hidden-text", "aria-live": "polite" });
  let lines = [];

  const refresh = () => {
    if (lines.length !== state.classes.length) return rebuild();
    const p = softmax(
      state.classes.map((each) => each.z),
      state.temperature,
    );
    const powers = state.classes.map((each) => Math.exp(each.z / state.temperature));
    lines.forEach((line, k) => line.to(state.classes[k].z, powers[k], p[k]));
    total.textContent = few(powers.reduce((sum, power) => sum + power, 0));
  };
  const moved = () => {
    refresh();
    changed();
  };
  const rebuild = () => {
    lines = state.classes.map((each, k) =>
      logitLine(each, k, moved, () => {
        state.classes.splice(k, 1);
        state.truth = Math.min(state.truth, state.classes.length - 1);
        moved();
        add.focus();
        live.textContent = t("softmax.removed");
      }),
    );
    fill(
      rows,
      lines.map((line) => line.node),
    );
    add.disabled = state.classes.length >= MOST;
    refresh();
  };
  const add = el(
    "button",
    {
      type: "button",
      onclick: () => {
        state.classes.push({ name: null, start: null, z: 0 });
        moved();
      },
    },
    t("softmax.add"),
  );
  const reset = el(
    "button",
    {
      type: "button",
      onclick: () => {
        begin();
        lines = [];
        heat.to(1);
        moved();
      },
    },
    t("reset"),
  );
  const heat = slider(t("temperature"), {
    value: state.temperature,
    min: 0.1,
    max: 5,
    step: 0.05,
    show: (value) => fixed(value, 2),
    id: "temperature",
    change: (value) => {
      state.temperature = value;
      moved();
    },
  });
  rebuild();
  const node = section(
    "softmax.shares",
    el(
      "div",
      { class: "panel" },
      heat,
      el(
        "div",
        { class: "logits-head", "aria-hidden": "true" },
        ["class", "logit", "power", "share"].map((key) => el("span", {}, t(key))),
      ),
      rows,
      el("p", { class: "total" }, t("sum"), " ", total),
      live,
      el("p", { class: "buttons" }, add, reset),
    ),
    el("p", { class: "formula" }, formula()),
  );
  return { node, refresh };
}

const formula = () => [
  "p",
  el("sub", {}, "i"),
  " = exp(z",
  el("sub", {}, "i"),
  " / T) ÷ Σ",
  el("sub", {}, "j"),
  " exp(z",
  el("sub", {}, "j"),
  " / T)",
];

function logitLine(each, k, moved, remove) {
  const title = el("input", {
    type: "text",
    class: "class-name",
    value: nameOf(each, k),
    maxlength: 40,
    "aria-label": t("class.name", { n: k + 1 }),
  });
  title.addEventListener("input", () => {
    each.name = title.value || null;
    moved();
  });
  const z = el("input", {
    type: "range",
    min: -REACH,
    max: REACH,
    step: 0.01,
    class: "logit",
    "aria-label": t("logit.of", { name: nameOf(each, k) }),
  });
  z.value = each.z;
  z.addEventListener("input", () => {
    each.z = Number(z.value);
    moved();
  });
  const [number, power, share] = ["logit-number", "power", "share"].map((kind) =>
    el("output", { class: `number ${kind}` }),
  );
  const grown = bar(0);
  const node = el(
    "li",
    {},
    title,
    el("span", { class: "with-number" }, z, number),
    el("span", { class: "power-cell" }, el("span", { class: "small-head" }, t("power")), power),
    el("span", { class: "with-number" }, grown, share),
    el(
      "button",
      {
        type: "button",
        class: "quiet-button remove",
        disabled: state.classes.length < 3,
        onclick: remove,
        "aria-label": t("remove.named", { name: nameOf(each, k) }),
      },
      "×",
    ),
  );
  const to = (value, exp, p) => {
    if (Number(z.value) !== value) z.value = value;
    number.textContent = fixed(value, 2);
    power.textContent = few(exp);
    share.textContent = fixed(p, 3);
    grown.to(p);
    z.setAttribute("aria-label", t("logit.of", { name: nameOf(each, k) }));
    z.setAttribute("aria-valuetext", t("logit.value", { logit: fixed(value, 2), share: fixed(p, 3) }));
  };
  return { node, to };
}

// --- the loss and its gradient -----------------------------------------------

function lossPart(moved) {
  const choices = el("div", { class: "pills", role: "radiogroup", "aria-label": t("loss.truth") });
  const body = el("tbody");
  const value = el("strong", { class: "loss-value" });
  const sum = el("span");
  const live = el("p", { class: "hidden-text", "aria-live": "polite" });
  const refresh = () => {
    const z = state.classes.map((each) => each.z);
    const p = softmax(z, state.temperature);
    const names = state.classes.map(nameOf);
    if (
      choices.children.length !== z.length ||
      [...choices.children].some((node, k) => node.textContent !== names[k])
    ) {
      fill(
        choices,
        names.map((said, k) =>
          pill("truth", said, k === state.truth, () => {
            state.truth = k;
            refresh();
          }),
        ),
      );
    }
    choices.querySelectorAll("input").forEach((input, k) => {
      input.checked = k === state.truth;
    });
    value.textContent = fixed(crossEntropy(z, state.truth, state.temperature), 3);
    sum.textContent = `−log ${fixed(p[state.truth], 3)}`;
    fill(
      body,
      p.map((share, k) => {
        const wanted = k === state.truth ? 1 : 0;
        const pull = signedBar(share - wanted);
        return el(
          "tr",
          {},
          el("th", { scope: "row" }, name(names[k], 24)),
          el("td", {}, String(wanted)),
          el("td", {}, fixed(share, 3)),
          el(
            "td",
            {},
            el(
              "span",
              { class: "with-number" },
              pull,
              el("output", { class: "number gradient" }, signed(share - wanted, 3)),
            ),
          ),
        );
      }),
    );
  };
  const step = () => {
    const p = softmax(
      state.classes.map((each) => each.z),
      state.temperature,
    );
    state.classes.forEach((each, k) => {
      const pull = (p[k] - (k === state.truth ? 1 : 0)) / state.temperature;
      each.z = Math.min(Math.max(each.z - RATE * pull, -REACH), REACH);
    });
    moved();
    refresh();
    live.textContent = `${t("loss.is")} ${value.textContent}`;
  };
  const node = section(
    "loss",
    el(
      "div",
      { class: "panel" },
      el("div", { class: "field-line" }, el("span", { class: "field-name" }, t("loss.truth")), choices),
      el("p", { class: "loss-line" }, t("loss.is"), " ", sum, " = ", value, " ", t("nats")),
      el(
        "div",
        { class: "wide", tabindex: "0", role: "region", "aria-label": `${t("loss")}: ${t("scroll")}` },
        el(
          "table",
          { class: "gradients" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { scope: "col" }, t("class")),
              el("th", { scope: "col" }, "y"),
              el("th", { scope: "col" }, "p"),
              el("th", { scope: "col" }, "p − y"),
            ),
          ),
          body,
        ),
      ),
      el(
        "p",
        { class: "buttons" },
        el("button", { type: "button", class: "main-button", id: "downhill", onclick: step }, t("loss.step")),
        el("span", { class: "quiet" }, t("loss.step.about", { rate: RATE })),
      ),
      live,
    ),
  );
  return { node, refresh };
}

/** A choice among a few, as a radio button that looks like a pill. */
function pill(group, said, checked, chosen) {
  const input = el("input", { type: "radio", name: group, checked, onchange: chosen });
  return el("label", { class: "pill" }, input, name(said, 24));
}

// --- two classes -------------------------------------------------------------

function sigmoidPart() {
  const frame = new Frame({ left: 40, top: 10, right: 350, bottom: 190, x: [-8, 8], y: [0, 1] });
  const xs = Array.from({ length: 81 }, (_, k) => -8 + k / 5);
  const point = svg("circle", { r: 6, class: "dot ring" });
  const guides = [svg("line", { class: "ideal" }), svg("line", { class: "ideal" })];
  const chart = picture(
    360,
    236,
    t("sigmoid.title"),
    t("sigmoid.desc"),
    frame.grid([-8, -4, 0, 4, 8], [0, 0.5, 1], (value) => few(value)),
    guides,
    svg("path", { d: curvePath(xs.map((x) => frame.point(x, sigmoid(x)))), class: "line s0" }),
    point,
    frame.axisName(t("sigmoid.x")),
  );
  const lines = [0, 1].map(() => ({ bar: bar(0), number: el("output", { class: "number" }) }));
  const said = el("p", { class: "formula" });
  const refresh = () => {
    const d = state.pair[0] - state.pair[1];
    const p = sigmoid(d);
    const [x, y] = frame.point(Math.min(Math.max(d, -8), 8), p);
    Object.entries({ cx: x, cy: y }).forEach(([key, place]) => point.setAttribute(key, place));
    const ends = [
      [x, frame.bottom, x, y],
      [frame.left, y, x, y],
    ];
    guides.forEach((line, k) => ["x1", "y1", "x2", "y2"].forEach((key, j) => line.setAttribute(key, ends[k][j])));
    [p, 1 - p].forEach((share, k) => {
      lines[k].bar.to(share);
      lines[k].number.textContent = fixed(share, 3);
    });
    const [a, b, difference] = [...state.pair, d].map((value) => fixed(value, 2));
    said.textContent = `σ(${a} − ${d > state.pair[0] ? `(${b})` : b}) = σ(${difference}) = ${fixed(p, 3)}`;
  };
  const controls = ["A", "B"].map((letter, k) => [
    slider(t("logit.of", { name: letter }), {
      value: state.pair[k],
      min: -4,
      max: 4,
      step: 0.05,
      show: (value) => fixed(value, 2),
      id: `pair-${k}`,
      change: (value) => {
        state.pair[k] = value;
        refresh();
      },
    }),
    el(
      "p",
      { class: "with-number pair-share" },
      el("span", { class: "quiet" }, t("share.of", { name: letter })),
      lines[k].bar,
      lines[k].number,
    ),
  ]);
  refresh();
  return section(
    "sigmoid",
    el("div", { class: "panel beside-chart" }, el("div", {}, controls, said), el("figure", {}, chart)),
  );
}
