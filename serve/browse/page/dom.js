// What every view needs: elements, requests, names, numbers. Names come from the dataset and are hostile:
// they are only ever made text. The page's policy (trusted types) lets no script make markup of a string.

// el makes an element. Of its properties, "on…" are listeners, "text" is its text and the others are
// attributes.
export function el(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") e.textContent = value;
    else if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c !== undefined && c !== null && c !== false));
  return e;
}

// ask requests one of the page's answers. It throws an Error whose message is for the user.
export async function ask(what, params, signal) {
  let response;
  try {
    response = await fetch(address("api/" + what, params), { signal, cache: "no-store" });
  } catch (err) {
    if (err.name === "AbortError") throw err;
    throw new Error("vaultpack browse does not answer. Was it ended?");
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Error("The session has ended (" + response.status + "). Start vaultpack browse again.");
  }
  if (!response.ok) throw new Error(answer.error || "Error " + response.status);
  return answer;
}

export function address(what, params) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(params || {})) {
    if (value !== undefined && value !== "" && value !== 0) all.set(name, value);
  }
  return what + "?" + all;
}

// A path is given as base64 of its bytes, which need not be UTF-8.
function bytesOf(id) {
  return Uint8Array.from(atob(id.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
}

function idOf(bytes) {
  let text = "";
  for (const b of bytes) text += String.fromCharCode(b);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// steps are the folders on the way to a path, and itself: the ID and the name of each.
export function steps(id) {
  const bytes = bytesOf(id);
  const all = [];
  let start = 0;
  for (let i = 0; i <= bytes.length; i++) {
    if (i < bytes.length && bytes[i] !== 47) continue;
    if (i > start) all.push({ id: idOf(bytes.subarray(0, i)), name: shown(bytes.subarray(start, i)) });
    start = i + 1;
  }
  return all;
}

// shown makes a name readable: what does not print, or turns the direction of writing, is escaped.
function shown(bytes) {
  return new TextDecoder().decode(bytes).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");
}

export function parentOf(id) {
  const all = steps(id);
  return all.length > 1 ? all[all.length - 2].id : "";
}

const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

export function size(n) {
  if (n === 1) return "1 byte";
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return (i && n < 100 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

export function count(n, one, many = one + "s") {
  return n.toLocaleString("en") + " " + (n === 1 ? one : many);
}

export function day(time) {
  if (!time) return "";
  const t = new Date(time);
  const two = (n) => String(n).padStart(2, "0");
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${two(t.getHours())}:${two(t.getMinutes())}`;
}

// isPicture and isSound go by names, for what to try; what a file is, its first bytes say.
export const isPicture = (name) => /\.(png|jpe?g|gif|webp|bmp|avif)$/i.test(name);
export const isSound = (name) => /\.(wav|mp3|flac|ogg|oga|m4a)$/i.test(name);

export function glyph(item) {
  if (item.kind === "folder") return "▸";
  if (item.kind === "link") return "↪";
  return isPicture(item.name) ? "▣" : isSound(item.name) ? "♪" : "·";
}

// biggestThumb is up to which size a picture is loaded unasked, in bytes. The browser scales it.
const biggestThumb = 8 << 20;

// thumb is a small picture of a file, or a sign for it.
export function thumb(item, raw) {
  const sign = () => el("span", { text: glyph(item), "aria-hidden": "true" });
  if (item.kind !== "file" || !isPicture(item.name) || item.size > biggestThumb || item.size === 0) {
    return el("span", { class: "thumb plain" }, sign());
  }
  const box = el("span", { class: "thumb" });
  const img = el("img", { loading: "lazy", decoding: "async", alt: "" });
  img.addEventListener("error", () => {
    box.classList.add("plain");
    img.replaceWith(el("span", { text: "✕", title: "This cannot be shown as a picture" }));
  });
  img.addEventListener("load", () => box.classList.toggle("pixels", img.naturalWidth < 64 && img.naturalHeight < 64));
  img.src = raw;
  box.append(img);
  return box;
}

export const failure = (err) => el("div", { class: "card error", role: "alert", text: err.message });
