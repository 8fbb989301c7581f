// Which view is shown, and of what. Where the user is stays in memory: browsers keep addresses and titles on
// disk, and names of files have no business there. The history holds numbers only.
import { el, ask, failure } from "./dom.js";
import { filesView, versionsView, closeViewer } from "./views.js";
import { chartsView, changesView } from "./charts.js";

const tabs = { files: "Files", charts: "Distribution", versions: "Versions", changes: "Changes" };
const views = { files: filesView, charts: chartsView, versions: versionsView, changes: changesView };

const places = [{}];
let now = 0;
let ending = new AbortController();
const latest = new Map(); // dataset → its newest versions, as the versions answer has them

// go shows a place: {d, v, view, p, …}.
export function go(place) {
  places.length = now + 1;
  places.push(place);
  now++;
  history.pushState(now, "");
  show();
}

window.addEventListener("popstate", (e) => {
  now = typeof e.state === "number" && e.state < places.length ? e.state : 0;
  show();
});

export async function versionsOf(d, signal) {
  if (!latest.has(d)) latest.set(d, await ask("versions", { d }, signal));
  return latest.get(d);
}

async function show() {
  const place = places[now];
  ending.abort();
  ending = new AbortController();
  const signal = ending.signal;
  closeViewer();
  const main = document.getElementById("main");
  main.replaceChildren(el("p", { class: "note", text: "…" }));
  frame(place);
  try {
    let made;
    if (!place.d) {
      made = await datasetsView(signal);
    } else {
      const known = await versionsOf(place.d, signal);
      if (!place.v) place.v = known.versions.find((v) => !v.error)?.number;
      frame(place, known);
      made = await views[place.view](place, signal, known);
    }
    if (!signal.aborted) main.replaceChildren(...[made].flat());
  } catch (err) {
    if (!signal.aborted) main.replaceChildren(failure(err));
  }
}

// frame fills the line at the top.
function frame(place, known) {
  const where = document.getElementById("where");
  const bar = document.getElementById("tabs");
  if (!place.d) {
    where.replaceChildren();
    bar.replaceChildren();
    return;
  }
  where.replaceChildren(el("span", { class: "name", text: place.d }), known ? chooser(place, known) : "");
  bar.replaceChildren(...Object.entries(tabs).map(([view, text]) =>
    el("button", { text, "aria-current": place.view === view && "page", onclick: () => go({ d: place.d, v: place.v, view, p: view === "charts" ? place.p : "" }) })));
}

// chooser lets the user choose among the newest versions; the time line has all.
function chooser(place, known) {
  const numbers = known.versions.map((v) => v.number);
  if (place.v && !numbers.includes(place.v)) numbers.push(place.v);
  const list = el("select", { "aria-label": "Version", onchange: () => go({ ...place, v: Number(list.value), with: undefined }) },
    ...numbers.map((n) => el("option", { value: n, text: "version " + n, selected: n === place.v })));
  return list;
}

async function datasetsView(signal) {
  const { datasets } = await ask("datasets", {}, signal);
  if (datasets.length === 1 && now === 0 && places.length === 1) {
    places[0] = { d: datasets[0], view: "files", p: "" };
    queueMicrotask(show);
    return [];
  }
  const list = el("div", { class: "grid" });
  const fill = (filter) => list.replaceChildren(...datasets.filter((d) => d.toLowerCase().includes(filter)).slice(0, 500).map((d) =>
    el("button", { class: "tile", onclick: () => go({ d, view: "files", p: "" }) },
      el("span", { class: "thumb plain", text: "▦", "aria-hidden": "true" }), el("span", { class: "caption name", text: d, title: d }))));
  const box = el("input", { type: "search", placeholder: "Filter", "aria-label": "Filter datasets", oninput: () => fill(box.value.trim().toLowerCase()) });
  fill("");
  if (!datasets.length) return el("p", { class: "note", text: "The vault has no dataset yet." });
  return [el("div", { class: "row" }, el("h2", { class: "grow", text: datasets.length === 1 ? "1 dataset" : datasets.length + " datasets" }), box), list];
}

document.getElementById("home").addEventListener("click", () => go({}));
history.replaceState(0, "");
show();
