// How a version is distributed, and how two versions differ. Both are counted by the server in parts, so that
// no answer takes long; the page adds them up and draws what is known so far.
import { el, ask, address, size, count, thumb, isPicture, failure } from "./dom.js";
import { go } from "./app.js";
import { crumbs, view } from "./views.js";

// parts asks for one part after the other, and has each taken.
async function parts(what, params, signal, take) {
  let from;
  do {
    const part = await ask(what, { ...params, from }, signal);
    from = part.next;
    if (take(part, !from) === false) return;
  } while (from && !signal.aborted);
}

// run begins to count, and tells errors below what it has drawn.
function run(work, signal, area) {
  work.catch((err) => { if (!signal.aborted) area.append(failure(err)); });
}

const mostBars = 30;

export async function chartsView(place, signal) {
  const area = el("div");
  const sum = { files: 0, bytes: 0, links: 0, scanned: 0, sizes: new Array(64).fill(0), folders: new Map(), extensions: new Map() };
  let by = "files";
  const choice = el("select", { "aria-label": "Count by", onchange: () => { by = choice.value; redraw(true); } },
    el("option", { value: "files", text: "by number of files" }), el("option", { value: "bytes", text: "by bytes" }));
  const redraw = (done) => area.replaceChildren(
    el("div", { class: "card" }, el("div", { class: "figures" },
      figure("files", sum.files.toLocaleString("en")), figure("in all", size(sum.bytes)), figure("on average", sum.files ? size(sum.bytes / sum.files) : "–"),
      figure(balance(sum.folders)[0], balance(sum.folders)[1]), done ? "" : figure("entries counted so far", sum.scanned.toLocaleString("en")))),
    el("div", { class: "columns" },
      el("div", { class: "card" }, el("h2", { text: "Folders" }), bars([...sum.folders.values()], by, "not in a folder", (g) => g.id && (() => go({ ...place, p: g.id })))),
      el("div", {},
        el("div", { class: "card" }, el("h2", { text: "File sizes" }), histogram(sum.sizes)),
        el("div", { class: "card" }, el("h2", { text: "File types" }), bars([...sum.extensions.values()], by, "no extension")))));
  run(parts("stats", { d: place.d, v: place.v, p: place.p }, signal, (part, done) => {
    for (const key of ["files", "bytes", "links", "scanned"]) sum[key] += part[key];
    part.sizes.forEach((n, i) => { sum.sizes[i] += n; });
    for (const key of ["folders", "extensions"]) for (const g of part[key]) merge(sum[key], g);
    redraw(done);
  }), signal, area);
  return [el("div", { class: "row" }, crumbs(place, "charts"), choice), area];
}

const maxMerged = 20000;

function merge(groups, g) {
  const name = (g.id || "") + " " + g.name;
  const known = groups.get(name);
  if (known) {
    known.files += g.files;
    known.bytes += g.bytes;
  } else if (groups.size < maxMerged) groups.set(name, { ...g });
}

const figure = (text, value) => el("div", {}, el("b", { text: value }), el("span", { class: "faint", text }));

// balance compares the largest and the smallest folder: classes, in a folder of classes.
function balance(folders) {
  const all = [...folders.values()].filter((g) => g.name.endsWith("/")).map((g) => g.files);
  if (all.length < 2) return ["folders", String(all.length)];
  const least = Math.min(...all), most = Math.max(...all);
  return [`folders, from ${least.toLocaleString("en")} to ${count(most, "file")}`, all.length.toLocaleString("en")];
}

function bars(groups, by, unnamed, link = () => null) {
  const all = groups.sort((a, b) => b[by] - a[by]);
  const most = Math.max(1, ...all.map((g) => g[by]));
  const box = el("div", { class: "bars" });
  for (const g of all.slice(0, mostBars)) {
    const open = link(g);
    const fill = el("div", { class: "fill" });
    fill.style.width = (100 * g[by]) / most + "%";
    box.append(el(open ? "button" : "span", { class: "label name", text: g.name || unnamed, title: g.name || unnamed, onclick: open || undefined }),
      el("div", { class: "track" }, fill), el("span", { class: "value", text: by === "files" ? g.files.toLocaleString("en") : size(g.bytes) }));
  }
  if (!all.length) return el("p", { class: "faint", text: "There is nothing." });
  if (all.length <= mostBars) return box;
  const rest = all.slice(mostBars).reduce((n, g) => n + g[by], 0);
  return el("div", {}, box, el("p", { class: "faint", text: count(all.length - mostBars, "smaller one") + " with " + (by === "files" ? count(rest, "file") : size(rest)) + " together" }));
}

// histogram draws classes of sizes, each twice as wide as the one before.
function histogram(sizes) {
  let first = sizes.findIndex((n) => n > 0);
  if (first < 0) return el("p", { class: "faint", text: "There is nothing." });
  let last = sizes.length - 1 - [...sizes].reverse().findIndex((n) => n > 0);
  first = Math.max(0, first - 1);
  last = Math.min(sizes.length - 1, last + 1);
  const most = Math.max(...sizes);
  const box = el("div", { class: "histogram" }), axis = el("div", { class: "axis", "aria-hidden": "true" });
  for (let i = first; i <= last; i++) {
    const from = i === 0 ? 0 : 2 ** (i - 1);
    const text = i === 0 ? "empty" : `${size(from)} to below ${size(2 ** i)}`;
    const fill = el("div", { class: "fill" });
    fill.style.height = (100 * sizes[i]) / most + "%";
    fill.hidden = !sizes[i];
    box.append(el("div", { title: text + ": " + count(sizes[i], "file") }, fill));
    axis.append(el("span", { text: i === 0 ? "0" : short(from) }));
  }
  return el("div", {}, box, axis, el("p", { class: "faint", text: "Each bar is of files from its size up to twice that." }));
}

const short = (n) => size(n).replace(" bytes", "").replace(" byte", "").replace(".0", "").replace(" ", "").replace("iB", "");

const mostDots = 4000;
const mostChanges = 20000; // until the user asks for more
const kinds = ["added", "changed", "removed"];

// changesView compares two versions.
export async function changesView(place, signal) {
  const before = await ask("versions", { d: place.d, v: place.v }, signal);
  const earlier = before.versions.filter((v) => !v.error && v.number < place.v).map((v) => v.number);
  if (place.with && !earlier.includes(place.with)) earlier.push(place.with);
  if (!earlier.length) return el("p", { class: "note", text: "There is no version before version " + place.v + " to compare it with." });
  const other = place.with || earlier[0];
  const list = el("select", { "aria-label": "Earlier version", onchange: () => go({ ...place, with: Number(list.value) }) },
    ...earlier.map((n) => el("option", { value: n, text: "version " + n, selected: n === other })));
  const bar = el("div", { class: "row" }, el("span", { text: "From" }), list, el("span", { text: "to version " + place.v }));
  const summary = el("div"), mosaic = el("div", { class: "mosaic" }), grid = el("div", { class: "grid changes" });
  const more = el("button", { class: "more", text: "Show more", hidden: true });
  const rows = el("tbody"), table = el("table", { class: "files spaced", hidden: true }, rows);
  const area = el("div", {}, summary, el("div", { class: "card" }, el("h2", { text: "Every change, in the order of names" }), mosaic), grid, table, more);
  const sum = { n: { added: 0, changed: 0, removed: 0 }, bytes: { added: 0, changed: 0, removed: 0 }, folders: new Map(), scanned: 0, changes: [] };
  let drawn = 0;
  const draw = () => {
    const next = sum.changes.slice(drawn, drawn + 200);
    for (const c of next) {
      if (c.kind === "file" && isPicture(c.name)) grid.append(changeTile(place, other, c, sum.changes));
      else rows.append(changeRow(place, other, c, sum.changes));
    }
    table.hidden = !rows.childElementCount;
    drawn += next.length;
    more.hidden = drawn >= sum.changes.length;
  };
  more.addEventListener("click", draw);
  run(parts("diff", { d: place.d, v: place.v, with: other }, signal, (part, done) => {
    add(sum, part);
    summary.replaceChildren(...overview(sum, done));
    dots(mosaic, part.changes);
    if (drawn < 200) draw();
    more.hidden = drawn >= sum.changes.length;
    return sum.changes.length < mostChanges || done;
  }).then(() => {
    if (!sum.changes.length) area.replaceChildren(el("p", { class: "note", text: "The two versions hold the same." }));
    else if (sum.changes.length >= mostChanges) summary.append(el("p", { class: "card", text: "Only the first " + count(sum.changes.length, "change") + " are shown and counted. vaultpack diff lists all." }));
  }), signal, area);
  return [bar, area];
}

function add(sum, part) {
  sum.scanned += part.scanned;
  for (const c of part.changes) {
    sum.changes.push(c);
    if (c.kind !== "folder") sum.n[c.change]++;
  }
  for (const k of kinds) sum.bytes[k] += part.bytes[k] || 0;
  for (const f of part.folders) {
    const all = sum.folders.get(f.name);
    if (all) for (const k of kinds) all[k] += f[k];
    else if (sum.folders.size < maxMerged) sum.folders.set(f.name, { ...f });
  }
}

function stacked(of, total, wide) {
  const track = el("div", { class: "track" + (wide ? " wide" : "") });
  for (const k of kinds) {
    if (!of[k]) continue;
    const fill = el("div", { class: "fill " + k, title: count(of[k], "file") + " " + k });
    fill.style.width = (100 * of[k]) / total + "%";
    track.append(fill);
  }
  return track;
}

const all = (of) => of.added + of.changed + of.removed;

function overview(sum, done) {
  const box = el("div", { class: "bars" });
  const folders = [...sum.folders.values()].sort((a, b) => all(b) - all(a));
  const most = Math.max(1, ...folders.map(all));
  for (const f of folders.slice(0, mostBars)) {
    const name = f.name || "in no folder";
    box.append(el("span", { class: "label name", text: name, title: name }), stacked(f, most), el("span", { class: "value", text: kinds.filter((k) => f[k]).map((k) => ({ added: "+", changed: "~", removed: "−" })[k] + f[k].toLocaleString("en")).join("  ") }));
  }
  return [el("div", { class: "card" },
    el("div", { class: "figures" }, ...kinds.map((k) => el("div", {}, el("b", { text: sum.n[k].toLocaleString("en") }), el("span", { class: "faint" }, el("span", { class: "key " + k }), `${k}, ${size(sum.bytes[k])}`))),
      done ? "" : figure("entries compared so far", sum.scanned.toLocaleString("en"))),
    stacked(sum.n, Math.max(1, all(sum.n)), true), box,
    folders.length > mostBars ? el("p", { class: "faint", text: "and " + count(folders.length - mostBars, "more folder") }) : "")];
}

function dots(mosaic, changes) {
  for (const c of changes) {
    if (mosaic.childElementCount >= mostDots) return;
    mosaic.append(el("span", { class: "dot " + c.change, title: c.change + ": " + c.name }));
  }
}

// opener shows a changed file as it is, or one that was removed as it was.
function opener(place, other, c, changes) {
  const at = c.change === "removed" ? { ...place, v: other } : place;
  if (c.kind === "folder") return () => go({ d: place.d, v: at.v, view: "files", p: c.id });
  return () => view(at, c, changes.filter((o) => (o.change === "removed") === (c.change === "removed")));
}

// changeTile shows a picture as it was and as it is.
function changeTile(place, other, c, changes) {
  const raw = (v) => address("raw", { d: place.d, v, p: c.id });
  const pictures = c.change === "changed" ? el("span", { class: "pair" }, thumb(c, raw(other)), thumb(c, raw(place.v)))
    : thumb(c, raw(c.change === "removed" ? other : place.v));
  return el("button", { class: "tile " + c.change, title: c.change + ": " + c.name, onclick: opener(place, other, c, changes) },
    pictures, el("span", { class: "caption name" }, c.name, el("span", { class: "faint", text: c.change + ", " + size(c.size) })));
}

function changeRow(place, other, c, changes) {
  const name = c.name + (c.kind === "folder" ? "/" : c.link ? " → " + c.link : "");
  return el("tr", { class: c.kind }, el("td", {}, el("button", { class: "name", title: name, onclick: opener(place, other, c, changes) }, el("span", { class: "key " + c.change }), name)),
    el("td", { class: "what faint", text: c.change }), el("td", { class: "num", text: c.kind === "file" ? size(c.size) : "" }));
}
