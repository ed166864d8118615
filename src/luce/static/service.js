// The calls to the service that this page came from, and the token that they carry.

const ROOT = new URL("../", import.meta.url);
const KEPT = "luce-token";

/** What the service said went wrong: status, one line, and the place in the question. */
export class ServiceError extends Error {
  constructor(status, what, where) {
    super(what);
    Object.assign(this, { status, what, where });
  }
}

export function keepToken(token) {
  sessionStorage.setItem(KEPT, token);
}

export const token = () => sessionStorage.getItem(KEPT) ?? "";

/** Takes the token from the address (#token=...) and clears the address at once. */
export function takeToken() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (!found) return;
  history.replaceState(null, "", location.pathname + location.search);
  keepToken(unescaped(found[1]));
}

/** A part of an address as text; as it stands where its escapes are broken. */
export function unescaped(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function asked(path, { method = "GET", body, type, accept = "application/json", signal } = {}) {
  const headers = { Accept: accept };
  if (type) headers["Content-Type"] = type;
  if (token()) headers.Authorization = `Bearer ${token()}`;
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), { method, body, headers, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, "", null);
  }
  if (!answer.ok) {
    const said = await answer.json().then(
      (found) => found.error,
      () => null,
    );
    throw new ServiceError(answer.status, said?.what ?? answer.statusText, said?.where ?? null);
  }
  return answer;
}

/** A JSON answer; `json` in the options is the question. */
export async function ask(path, { json, ...more } = {}) {
  const given = json === undefined ? {} : { method: "POST", body: JSON.stringify(json), type: "application/json" };
  return (await asked(path, { ...given, ...more })).json();
}

/** An answer as text. */
export const askText = async (path, options) => (await asked(path, options)).text();

/** An answer as a file. */
export const askFile = async (path, options) => (await asked(path, options)).blob();

/** The events of a stream as they come: {event, data}. */
export async function* events(path, signal) {
  const answer = await asked(path, { accept: "text/event-stream", signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    held += (value ?? "").replaceAll("\r\n", "\n");
    for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
      const found = parsed(held.slice(0, end));
      held = held.slice(end + 2);
      if (found) yield found;
    }
    if (done) return;
  }
}

function parsed(block) {
  const fields = { event: "message", data: [] };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(event|data): ?(.*)$/.exec(line) ?? [];
    if (field === "event") fields.event = value;
    if (field === "data") fields.data.push(value);
  }
  return fields.data.length ? { event: fields.event, data: JSON.parse(fields.data.join("\n")) } : null;
}

/**
 * Asks the newest question at most every so many milliseconds, a few at once at most: send(question) -> answer.
 * Where answers overtake each other the newest counts. Gives {ask(question), drop()}; drop forgets what is on its way.
 */
export function newest(send, take, wrong, every = 16, atOnce = 2) {
  let turn = 0,
    shown = 0,
    flying = 0,
    held = null,
    last = -every,
    timer = 0;
  const go = async () => {
    clearTimeout(timer);
    if (held === null || flying >= atOnce) return;
    const rest = last + every - performance.now();
    if (rest > 0) {
      timer = setTimeout(go, rest);
      return;
    }
    const [question] = held,
      mine = (turn += 1);
    [held, last] = [null, performance.now()];
    flying += 1;
    try {
      const answer = await send(question);
      if (mine > shown) {
        shown = mine;
        take(answer);
      }
    } catch (error) {
      if (mine > shown && mine === turn && held === null) wrong(error);
    }
    flying -= 1;
    go();
  };
  return {
    ask: (question) => {
      held = [question];
      go();
    },
    drop: () => {
      held = null;
      shown = turn;
    },
  };
}

/** The address of a model's part. */
export const of = (model, part = "") => `v1/models/${encodeURIComponent(model)}${part && `/${part}`}`;
