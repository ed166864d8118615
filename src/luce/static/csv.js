// Records of a file of comma-separated values: cut at their ends, read into cells; quotes may hold line ends.

const SEPARATORS = [",", "\t", ";", "|"];

/** The places after each record's end; a quote counts where a cell begins, and doubled within quotes. */
function* ends(text) {
  let quoted = false,
    fresh = true,
    closed = false;
  for (let k = 0; k < text.length; k += 1) {
    const c = text[k];
    if (c === '"' && (quoted || fresh || closed)) {
      closed = quoted;
      quoted = !quoted;
      fresh = false;
      continue;
    }
    closed = false;
    fresh = c === "\n" || SEPARATORS.includes(c);
    if (c === "\n" && !quoted) yield k + 1;
  }
}

/** The separator of a header: the most frequent one outside quotes. */
export function separatorOf(header) {
  const bare = header.replace(/"[^"]*"/g, "");
  const counts = SEPARATORS.map((each) => bare.split(each).length);
  return SEPARATORS[counts.indexOf(Math.max(...counts))];
}

/** The cells of one record. */
export function cells(record, separator = ",") {
  const out = [];
  let k = 0;
  const line = record.replace(/\r?\n$/, "");
  for (;;) {
    let cell = "";
    if (line[k] === '"') {
      for (k += 1; k < line.length; k += 1) {
        if (line[k] !== '"') cell += line[k];
        else if (line[k + 1] === '"') {
          cell += '"';
          k += 1;
        } else {
          k += 1;
          break;
        }
      }
    }
    const end = line.indexOf(separator, k);
    cell += line.slice(k, end < 0 ? line.length : end);
    out.push(cell);
    if (end < 0) return out;
    k = end + 1;
  }
}

/** The records of a whole text. */
export function records(text) {
  const out = [];
  let from = 0;
  for (const end of ends(text.endsWith("\n") ? text : `${text}\n`)) {
    const record = text.slice(from, end);
    if (record.trim()) out.push(record);
    from = end;
  }
  return out;
}

/** The text of a file: UTF-16 by its mark, else strict UTF-8, else Korean (cp949), else nothing is right: throws. */
export async function decoded(file) {
  const head = new Uint8Array(await file.slice(0, 3).arrayBuffer());
  const marked =
    head[0] === 0xff && head[1] === 0xfe ? "utf-16le" : head[0] === 0xfe && head[1] === 0xff ? "utf-16be" : null;
  const bytes = await file.arrayBuffer();
  if (marked) return { text: new TextDecoder(marked, { fatal: true }).decode(bytes), encoding: marked };
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), encoding: "utf-8" };
  } catch {
    return { text: new TextDecoder("euc-kr", { fatal: true }).decode(bytes), encoding: "cp949" };
  }
}

/** Parts of records, each of at most so many records and characters (one record at least). */
export function parts(lines, most, size) {
  const out = [];
  let part = [],
    length = 0;
  for (const line of lines) {
    if (part.length && (part.length >= most || length + line.length > size)) {
      out.push(part);
      part = [];
      length = 0;
    }
    part.push(line);
    length += line.length;
  }
  if (part.length) out.push(part);
  return out;
}
