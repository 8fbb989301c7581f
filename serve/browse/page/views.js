// Files, a file, and the time line of versions.
import { el, ask, address, steps, size, count, day, glyph, thumb, isPicture, failure, parentOf } from "./dom.js";
import { go } from "./app.js";

const rawOf = (place, item, more) => address("raw", { d: place.d, v: place.v, p: item.id, ...more });

export function crumbs(place, view) {
  const all = [{ id: "", name: place.d }, ...(place.p ? steps(place.p) : [])];
  return el("nav", { class: "crumbs grow", "aria-label": "Folder" }, ...all.flatMap((s, i) => [
    i ? el("span", { text: "/" }) : "", el("button", { class: "name", text: s.name, onclick: () => go({ d: place.d, v: place.v, view, p: s.id }) })]));
}

// filesView lists a folder, or what a search finds in it.
export async function filesView(place, signal) {
  const request = place.q ? ["search", { d: place.d, v: place.v, p: place.p, q: place.q }] : ["folder", { d: place.d, v: place.v, p: place.p }];
  const first = await ask(...request, signal);
  const items = [];
  const area = el("div");
  const status = el("p", { class: "note", role: "status" });
  let asGrid = first.items.some((i) => i.kind === "file" && isPicture(i.name));
  let body = null;
  const add = (more) => {
    items.push(...more);
    body.append(...more.map((i) => (asGrid ? tile : line)(place, i, items)));
  };
  const redraw = () => {
    body = asGrid ? el("div", { class: "grid" }) : el("tbody");
    area.replaceChildren(asGrid ? body : table(body));
    add(items.splice(0));
    change.textContent = asGrid ? "Show as list" : "Show as pictures";
  };
  const change = el("button", { onclick: () => { asGrid = !asGrid; redraw(); } });
  const more = el("button", { class: "more", text: "Show more" });
  let next = first.next;
  let searched = first.scanned || 0;
  const tell = () => {
    more.hidden = !next;
    if (place.q) status.textContent = count(items.length, "hit") + " in " + count(searched, "entry", "entries") + (next ? " so far" : "");
    else status.textContent = items.length ? "" : "This folder is empty.";
    status.hidden = !status.textContent;
  };
  const load = async () => {
    more.disabled = true;
    try {
      const page = await ask(request[0], { ...request[1], from: next }, signal);
      next = page.next;
      searched += page.scanned || 0;
      add(page.items);
      tell();
    } catch (err) {
      if (!signal.aborted) area.append(failure(err));
    }
    more.disabled = false;
  };
  more.addEventListener("click", load);
  items.push(...first.items);
  redraw();
  tell();
  const box = el("input", { type: "search", value: place.q || "", placeholder: "Search below here", "aria-label": "Search", maxlength: 80 });
  const form = el("form", { role: "search" }, box);
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    go({ ...place, q: box.value.trim() });
  });
  if (place.q) while (next && items.length < 50 && !signal.aborted && !more.disabled && searched < 5e6) await load();
  return [el("div", { class: "row" }, crumbs(place, "files"), form, change), area, status, more];
}

function table(body) {
  return el("table", { class: "files" }, el("thead", {}, el("tr", {}, el("th", { text: "Name" }), el("th", { class: "num", text: "Size" }), el("th", { class: "when", text: "Modified" }))), body);
}

const open = (place, item, items) => item.kind === "folder" ? go({ d: place.d, v: place.v, view: "files", p: item.id }) : view(place, item, items);

const label = (item) => item.name + (item.kind === "folder" ? "/" : item.link ? " → " + item.link : "");

function line(place, item, items) {
  return el("tr", { class: item.kind },
    el("td", {}, el("button", { class: "name", title: label(item), onclick: () => open(place, item, items) }, el("span", { class: "glyph", text: glyph(item), "aria-hidden": "true" }), label(item),
      item.flaw ? el("span", { class: "badge warn", text: item.flaw }) : "")),
    el("td", { class: "num", text: item.kind === "file" ? size(item.size) : "" }), el("td", { class: "when faint", text: day(item.modified) }));
}

function tile(place, item, items) {
  return el("button", { class: "tile " + item.kind, title: label(item), onclick: () => open(place, item, items) }, thumb(item, rawOf(place, item)),
    el("span", { class: "caption name" }, label(item), el("span", { class: "faint", text: item.kind === "file" ? size(item.size) : item.kind })));
}

// The viewer shows one file, and leads to those beside it.
const viewer = document.getElementById("viewer");
let viewed = null;

export function closeViewer() {
  if (viewer.open) viewer.close();
}

export function view(place, item, items) {
  viewed?.ending.abort();
  viewed = { place, item, items: items.filter((i) => i.kind !== "folder"), ending: new AbortController() };
  draw();
}

viewer.addEventListener("close", () => {
  viewed?.ending.abort();
  document.getElementById("viewer-body").replaceChildren(); // sounds end, too
});
viewer.addEventListener("click", (e) => { if (e.target === viewer) viewer.close(); });
viewer.addEventListener("keydown", (e) => {
  if (e.altKey || e.ctrlKey || e.metaKey || e.target.matches("input, select, audio")) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
  if (step) beside(step);
});

function beside(step) {
  const i = viewed.items.indexOf(viewed.item) + step;
  if (i >= 0 && i < viewed.items.length) {
    viewed.ending.abort();
    viewed = { ...viewed, item: viewed.items[i], ending: new AbortController() };
    draw();
  }
}

// draw shows the file. as is "hex" or "text" to have it shown so, from the offset at on.
async function draw(as = "", at = 0) {
  const { place, item, items, ending } = viewed;
  const body = document.getElementById("viewer-body");
  const meta = document.getElementById("viewer-meta");
  document.getElementById("viewer-name").replaceChildren(el("span", { class: "name", text: steps(item.id).map((s) => s.name).join("/") }));
  meta.textContent = size(item.size);
  body.replaceChildren(el("p", { class: "note", text: "…" }));
  const i = items.indexOf(item);
  const tools = (p) => document.getElementById("viewer-tools").replaceChildren(
    el("button", { text: "‹", title: "Previous (left arrow)", "aria-label": "Previous", disabled: i <= 0, onclick: () => beside(-1) }),
    el("button", { text: "›", title: "Next (right arrow)", "aria-label": "Next", disabled: i < 0 || i >= items.length - 1, onclick: () => beside(1) }),
    p && p.shown !== "hex" && p.shown !== "empty" ? el("button", { text: "Hex", onclick: () => draw("hex") }) : "",
    p && p.shown === "table" ? el("button", { text: "Text", onclick: () => draw("text") }) : "",
    p && as ? el("button", { text: "As before", onclick: () => draw() }) : "",
    el("button", { text: "Folder", title: "Go to its folder", onclick: () => go({ d: place.d, v: place.v, view: "files", p: parentOf(item.id) }) }),
    el("a", { href: rawOf(place, item, { store: 1 }), download: true, text: "Store…", title: "Store a plaintext copy on this machine" }),
    el("button", { text: "Close", onclick: () => viewer.close() }));
  tools();
  if (!viewer.open) viewer.showModal();
  try {
    const p = await ask("file", { d: place.d, v: place.v, p: item.id, as, at }, ending.signal);
    if (p.shown === "folder") return go({ d: place.d, v: place.v, view: "files", p: item.id });
    tools(p);
    meta.textContent = [size(p.size), p.type, p.modified && "modified " + day(p.modified), p.mode, p.sha256 && "SHA-256 " + p.sha256].filter(Boolean).join(" · ");
    body.replaceChildren(...contents(place, item, p, meta));
    body.scrollTop = 0;
  } catch (err) {
    if (!ending.signal.aborted) body.replaceChildren(failure(err));
  }
}

function contents(place, item, p, meta) {
  const cut = p.cut ? [el("p", { class: "note", text: "Only the beginning is shown." })] : [];
  switch (p.shown) {
    case "image": {
      const stage = el("div", { class: "stage" });
      const img = el("img", { alt: "" });
      img.addEventListener("load", () => {
        meta.textContent += ` · ${img.naturalWidth} × ${img.naturalHeight} pixels`;
        stage.classList.toggle("pixels", img.naturalWidth < 64 && img.naturalHeight < 64);
      });
      img.addEventListener("error", () => stage.replaceChildren(failure(new Error("The picture cannot be shown: the browser does not read it, or it could not be read whole. vaultpack tells more in its terminal."))));
      img.src = rawOf(place, item);
      stage.append(img);
      return [stage];
    }
    case "audio": {
      const stage = el("div", { class: "stage" });
      const audio = el("audio", { controls: true, preload: "metadata" });
      audio.addEventListener("error", () => stage.replaceChildren(failure(new Error("The sound cannot be played: the browser does not read it, or it could not be read whole. vaultpack tells more in its terminal."))));
      audio.src = rawOf(place, item);
      stage.append(audio);
      return [stage];
    }
    case "table":
      return [el("div", { class: "scroll" }, el("table", { class: "data" },
        el("thead", {}, el("tr", {}, el("th", { class: "nr" }), ...p.columns.map((c) => el("th", { text: c })))),
        el("tbody", {}, ...p.rows.map((r, i) => el("tr", {}, el("td", { class: "nr", text: i + 1 }), ...r.map((c) => el("td", { text: c }))))))), ...cut];
    case "text":
      return [el("pre", { text: p.text }), ...cut];
    case "hex":
      return hex(p);
  }
  return [el("p", { class: "note", text: "The file is empty." })];
}

function hex(p) {
  const bytes = Uint8Array.from(atob(p.hex || ""), (c) => c.charCodeAt(0));
  const rows = [];
  for (let i = 0; i < bytes.length; i += 16) {
    const row = [...bytes.subarray(i, i + 16)];
    const digits = row.map((b) => b.toString(16).padStart(2, "0"));
    const left = digits.slice(0, 8).join(" ").padEnd(23), right = digits.slice(8).join(" ").padEnd(23);
    rows.push((p.at + i).toString(16).padStart(8, "0") + "  " + left + "  " + right + "  " + row.map((b) => (b > 31 && b < 127 ? String.fromCharCode(b) : ".")).join(""));
  }
  const page = 4096;
  const jump = (text, at, off) => el("button", { text, disabled: off, onclick: () => draw("hex", at) });
  return [el("div", { class: "row bar" },
    jump("First", 0, p.at === 0), jump("Back", Math.max(0, p.at - page), p.at === 0),
    jump("On", p.at + page, !p.cut), jump("Last", Math.floor((p.size - 1) / page) * page, !p.cut),
    el("span", { class: "faint", text: `bytes ${p.at.toLocaleString("en")} to ${(p.at + bytes.length - 1).toLocaleString("en")} of ${p.size.toLocaleString("en")}` })),
    el("pre", { class: "hex", text: rows.join("\n") })];
}

// versionsView is the time line.
export async function versionsView(place, signal, known) {
  const list = el("ol", { class: "timeline" });
  const all = [];
  const add = (more) => {
    all.push(...more);
    list.replaceChildren(...all.map((v, i) => version(place, v, all[i + 1], known)));
  };
  add(known.versions);
  let before = known.before;
  const more = el("button", { class: "more", text: "Show earlier versions", hidden: !before });
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      const page = await ask("versions", { d: place.d, v: before }, signal);
      before = page.before;
      add(page.versions);
      more.hidden = !before;
    } catch (err) {
      if (!signal.aborted) more.before(failure(err));
    }
    more.disabled = false;
  });
  return [el("h2", { text: count(known.total, "version") + " of " + place.d }), list, more];
}

function version(place, v, earlier) {
  if (v.error) return el("li", { class: "bad" }, el("div", { class: "card error" }, el("strong", { text: "Version " + v.number }), el("div", { text: v.error })));
  const change = earlier && !earlier.error ? (earlier.files === v.files ? "" : (v.files > earlier.files ? "+" : "−") + Math.abs(v.files - earlier.files).toLocaleString("en") + (Math.abs(v.files - earlier.files) === 1 ? " file" : " files")) : "";
  return el("li", {}, el("div", { class: "card" },
    el("div", { class: "row" }, el("strong", { text: "Version " + v.number }), el("span", { class: "faint", text: day(v.created) }),
      ...v.tags.map((t) => el("span", { class: "badge name", text: t })),
      v.flaws ? el("span", { class: "badge warn", text: "incomplete: " + v.flaws + (v.partial ? " missing" : " not read") }) : "", change ? el("span", { class: "badge", text: change }) : ""),
    v.message ? el("div", { class: "message", text: v.message }) : "",
    el("dl", {},
      el("dt", { text: "Holds" }), el("dd", { text: count(v.files, "file") + ", " + size(v.bytes) + "; sealed, " + size(v.sealed) }),
      el("dt", { text: "Signed by" }), el("dd", {}, el("span", { class: "mono", text: v.signer }), " " + (v.role ? "(" + v.role + ")" : "(no longer a signer)")),
      el("dt", { text: "Digest" }), el("dd", { class: "mono", text: v.digest })),
    el("div", { class: "row" },
      el("button", { text: "Look at the files", onclick: () => go({ d: place.d, v: v.number, view: "files", p: "" }) }),
      earlier && !earlier.error ? el("button", { text: "What changed since version " + earlier.number, onclick: () => go({ d: place.d, v: v.number, with: earlier.number, view: "changes" }) }) : "")));
}
