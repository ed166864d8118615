// The frame of the page: its views by the part of the address after #, its language, its models.

import { el, fill, name } from "./dom.js";
import { ask, keepToken, of, takeToken, token, unescaped } from "./service.js";
import { choose, language, LANGUAGES, say, t } from "./texts.js";

const VIEWS = {
  try: () => import("./try.js"),
  trust: () => import("./trust.js"),
  batch: () => import("./batch.js"),
  train: () => import("./train.js"),
  softmax: () => import("./playground.js"),
};
const OF_A_MODEL = ["try", "trust", "batch"];

const known = { luce: "", models: [], writable: false, trouble: null, described: new Map() };
let leave = () => {};
let turn = 0;

const main = () => document.getElementById("main");

function place() {
  const [, view = "", model = ""] = /^#\/([a-z]*)\/?(.*)$/.exec(location.hash) ?? [];
  const wanted = Object.hasOwn(VIEWS, view) ? view : known.models.length ? "try" : "softmax";
  return { view: wanted, model: model ? unescaped(model) : known.models[0] };
}

const address = (view, model) =>
  `#/${view}${model && OF_A_MODEL.includes(view) ? `/${encodeURIComponent(model)}` : ""}`;

function frame({ view, model }) {
  const open = Object.keys(VIEWS).filter((each) => each !== "train" || known.writable || view === "train");
  const links = open.map((each) =>
    el(
      "li",
      {},
      el("a", { href: address(each, model), "aria-current": each === view ? "page" : null }, t(`view.${each}`)),
    ),
  );
  const other = LANGUAGES.find((each) => each !== language());
  const change = el(
    "button",
    {
      type: "button",
      class: "quiet-button",
      lang: other,
      onclick: () => {
        choose(other);
        show(true);
      },
    },
    t("language.other"),
  );
  fill(
    document.getElementById("header"),
    el("p", { class: "brand" }, el("a", { href: address(known.models.length ? "try" : "softmax", model) }, "luce")),
    el("nav", { "aria-label": t("views") }, el("ul", {}, links)),
    change,
  );
  const skip = document.getElementById("skip");
  skip.textContent = t("skip");
  skip.onclick = (event) => {
    event.preventDefault();
    main().focus();
  };
  fill(document.getElementById("footer"), el("p", {}, t("footer", { version: known.luce && ` ${known.luce}` })));
  document.documentElement.lang = language();
  document.title = `${t(`view.${view}`)} · luce`;
}

function picker({ view, model }) {
  if (known.models.length < 2) return null;
  const options = known.models.map((each) => el("option", { value: each, selected: each === model }, each));
  return el(
    "label",
    { class: "model-choice" },
    t("model"),
    el(
      "select",
      {
        onchange: (event) => {
          location.hash = address(view, event.target.value);
        },
      },
      options,
    ),
  );
}

/** What a view is given: what is known of the service, and the description of the model. */
async function context(at) {
  if (!OF_A_MODEL.includes(at.view)) return { known, at };
  if (!known.described.has(at.model)) known.described.set(at.model, await ask(of(at.model)));
  return { known, at, model: known.described.get(at.model), picker: picker(at) };
}

/** Draws the view that the address names. */
async function show(still = false) {
  const mine = (turn += 1);
  const at = place();
  leave();
  leave = () => {};
  frame(at);
  const needs = OF_A_MODEL.includes(at.view);
  try {
    if (known.trouble && at.view !== "softmax") throw known.trouble;
    if (needs && !at.model) {
      fill(main(), ...empty());
      return;
    }
    const [view, given] = await Promise.all([VIEWS[at.view](), context(at)]);
    if (mine !== turn) return;
    main().replaceChildren();
    leave = view.draw(main(), given) ?? leave;
  } catch (error) {
    if (mine !== turn) return;
    fill(main(), ...trouble(error));
  }
  if (!still) {
    main().focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

const empty = () => [
  el("h1", {}, t("empty.title")),
  el("p", {}, say("empty.start", { command: el("code", {}, "luce serve model.luce") })),
  el(
    "p",
    {},
    say(known.writable ? "empty.train" : "empty.softmax", {
      link: el(
        "a",
        { href: address(known.writable ? "train" : "softmax") },
        t(known.writable ? "view.train" : "view.softmax"),
      ),
    }),
  ),
];

function trouble(error) {
  if (error.status === 401) return [tokenForm(token() ? t("token.wrong") : "")];
  if (error.status === 403) return [tokenForm(error.what)];
  const what = error.status === 0 ? t("error.away") : (error.what ?? String(error.message));
  const again = el("button", { type: "button", onclick: begin }, t("again"));
  return [
    el("h1", {}, t("error.title")),
    el("p", { class: "warn", role: "alert" }, name(what, 400)),
    el("p", {}, again),
  ];
}

/** Asks for the token that the service printed when it began. */
function tokenForm(what) {
  const input = el("input", {
    type: "password",
    id: "token",
    autocomplete: "off",
    required: true,
    "aria-describedby": "token-why",
  });
  const send = (event) => {
    event.preventDefault();
    keepToken(input.value.trim());
    known.described.clear();
    begin();
  };
  return el(
    "form",
    { class: "token", onsubmit: send },
    el("h1", {}, t("token.title")),
    el("p", { id: "token-why" }, t("token.why")),
    what ? el("p", { class: "warn", role: "alert" }, name(what, 200)) : null,
    el("label", { for: "token" }, t("token")),
    input,
    el("button", { class: "main-button" }, t("token.send")),
  );
}

async function begin() {
  try {
    Object.assign(known, await ask("v1"), { trouble: null });
  } catch (error) {
    known.trouble = error;
  }
  await show(true);
}

addEventListener("hashchange", () => {
  takeToken();
  show();
});
addEventListener("luce-trained", async () => {
  Object.assign(known, await ask("v1"));
  known.described.clear();
  frame(place());
});
// A file that is dropped beside its place is not opened in place of the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
takeToken();
begin();
