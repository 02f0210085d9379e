"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const { frames, thresholds, stages } = report;
const segments = stages.includes("segmenter"), gated = stages.includes("gate");
const LEVELS = 256;
const find = (id) => document.getElementById(id);
const number = (x, digits) => (Number.isNaN(x) ? "–" : x.toFixed(digits));
const runThresholds = {
  gate: gated ? thresholds.presence : 0,
  level: Math.min(LEVELS - 1, Math.max(0, Math.ceil(thresholds.mask * (LEVELS - 1) - 1e-4))),
  area: thresholds.area,
};
const state = { ...runThresholds };
let counts; // of each frame: pixels at or above each level, then those of them that are true
let outcomes = [];
let listed = []; // positions of the frames in the gallery, in its order
let open = -1; // position in `listed` of the frame in full size

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const words = new Uint32Array(await new Response(stream).arrayBuffer());
  for (let row = 0; row < words.length; row += LEVELS)
    for (let level = LEVELS - 2; level >= 0; level--) words[row + level] += words[row + level + 1];
  return words;
}

// === Scores ===

function outcome(frame, index) {
  const passes = !gated || (state.gate < 1 && frame.presence >= state.gate);
  let predicted = 0, overlap = 0;
  if (segments && passes && state.level < LEVELS - 1) {
    predicted = counts[2 * index * LEVELS + state.level];
    overlap = counts[(2 * index + 1) * LEVELS + state.level];
    if (predicted < state.area * frame.pixels) predicted = overlap = 0;
  }
  const total = predicted + frame.truth;
  const positive = segments ? predicted > 0 : passes;
  const kind = frame.truth ? (positive ? "nerve segmented" : "miss") : positive ? "false alarm" : "correctly empty";
  return { passes, predicted, dice: total ? (2 * overlap) / total : 1, kind };
}

const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

function score() {
  outcomes = frames.map(outcome);
  const nerve = outcomes.filter((_, i) => frames[i].truth), empty = outcomes.filter((_, i) => !frames[i].truth);
  const passing = outcomes.filter((o) => o.passes).length;
  const hits = nerve.filter((o) => o.passes).length;
  return {
    dice: mean(outcomes.map((o) => o.dice)),
    nerveDice: mean(nerve.map((o) => o.dice)),
    sensitivity: hits / nerve.length,
    specificity: 1 - (passing - hits) / empty.length,
    precision: passing ? hits / passing : NaN,
    kinds: (kind) => outcomes.filter((o) => o.kind === kind).length,
  };
}

// === Pictures ===

const masks = new Map(); // decoded when they are first shown

async function decodeMasks(index) {
  if (!masks.has(index)) {
    const image = new Image();
    image.src = frames[index].masks;
    const pixels = image.decode().then(() => {
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      return context.getImageData(0, 0, canvas.width, canvas.height);
    });
    masks.set(index, pixels);
  }
  return masks.get(index);
}

const MASK = [255, 201, 64], TRUTH = [47, 208, 127];

async function paint(canvas, index) {
  canvas.dataset.index = index;
  const source = await decodeMasks(index);
  if (canvas.dataset.index !== String(index)) return; // another frame was opened meanwhile
  const { width, height, data } = source;
  const shown = outcomes[index].predicted > 0 && find("show-mask").checked;
  const truth = find("show-truth").checked;
  const from = state.level ? Math.max(4, state.level - (state.level % 4)) : 0; // as they are packed
  const context = canvas.getContext("2d");
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const picture = context.createImageData(width, height);
  const put = (at, colour, alpha) => picture.data.set([...colour, alpha], at);
  const inside = (channel, minimum) => (x, y) =>
    x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x) + channel] >= minimum;
  const isMask = inside(0, from), isTruth = inside(1, 128);
  const onEdge = (is, x, y) => !(is(x - 1, y) && is(x + 1, y) && is(x, y - 1) && is(x, y + 1));
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      if (shown && data[at] >= from) put(at, MASK, onEdge(isMask, x, y) ? 255 : 105);
      if (truth && data[at + 1] >= 128 && onEdge(isTruth, x, y)) put(at, TRUTH, 255);
    }
  context.putImageData(picture, 0, 0);
}

function describe(index) {
  const frame = frames[index], { dice, kind } = outcomes[index];
  const parts = [];
  if (gated) parts.push(`presence ${frame.presence.toFixed(2)}`);
  if (segments) parts.push(`Dice ${dice.toFixed(3)}`);
  return { text: parts.join(", "), kind, wrong: kind === "miss" || kind === "false alarm" };
}

const imageOf = (frame) => (find("show-why")?.checked ? frame.why : frame.image);
const titleOf = (frame) => (frame.subject ? `${frame.name}, subject ${frame.subject}` : frame.name);

// === Gallery ===

const gallery = find("gallery"), cards = new Map(), visible = new Set();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const index = Number(target.dataset.index);
      if (!isIntersecting) visible.delete(index);
      else {
        visible.add(index);
        refresh(index);
      }
    }
  },
  { rootMargin: "400px" }
);

function card(index) {
  if (cards.has(index)) return cards.get(index);
  const element = document.createElement("button");
  element.type = "button";
  element.className = "frame";
  element.dataset.index = index;
  element.innerHTML =
    '<div class="stack"><img alt="" loading="lazy"><canvas aria-hidden="true"></canvas></div><p><strong></strong><span></span><span></span></p>';
  element.querySelector("img").src = frames[index].image;
  element.querySelector("strong").textContent = titleOf(frames[index]);
  element.addEventListener("click", () => enlarge(listed.indexOf(index)));
  cards.set(index, element);
  return element;
}

function refresh(index) {
  const element = cards.get(index), { text, kind, wrong } = describe(index);
  const [numbers, verdict] = element.querySelectorAll("span");
  numbers.textContent = `${text} `;
  verdict.textContent = kind;
  verdict.className = wrong ? "wrong" : "";
  const image = element.querySelector("img");
  if (image.src !== imageOf(frames[index])) image.src = imageOf(frames[index]);
  const fit = () => (element.querySelector(".stack").style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`);
  if (image.complete && image.naturalWidth) fit();
  else image.addEventListener("load", fit, { once: true });
  if (segments) paint(element.querySelector("canvas"), index);
}

function list() {
  const filter = find("filter").value, subject = find("subject").value, order = find("order").value;
  const matches = {
    all: () => true,
    nerve: (i) => frames[i].truth > 0,
    empty: (i) => !frames[i].truth,
  }[filter] ?? ((i) => outcomes[i].kind === filter);
  listed = [...frames.keys()].filter((i) => frames[i].image && (!subject || frames[i].subject === subject) && matches(i));
  if (order === "worst") listed.sort((a, b) => outcomes[a].dice - outcomes[b].dice || a - b);
  if (order === "presence") listed.sort((a, b) => frames[b].presence - frames[a].presence || a - b);
  const elements = listed.map(card);
  const same = elements.length === gallery.children.length && elements.every((e, i) => e === gallery.children[i]);
  if (!same) {
    watcher.disconnect();
    visible.clear();
    gallery.replaceChildren(...elements);
    elements.forEach((element) => watcher.observe(element));
  }
  find("shown").textContent = `${listed.length} frame${listed.length === 1 ? "" : "s"}`;
}

// === Full size ===

const large = find("large");

function enlarge(position) {
  if (!listed.length) return;
  open = Math.min(Math.max(position, 0), listed.length - 1);
  showLarge();
  if (!large.open) large.showModal();
}

function showLarge() {
  const index = listed[open], frame = frames[index], { text, kind } = describe(index);
  const stack = find("large-stack"), image = stack.querySelector("img"), canvas = stack.querySelector("canvas");
  find("large-title").textContent = `${titleOf(frame)} (${open + 1} of ${listed.length})`;
  find("large-facts").textContent = `${text}: ${kind}`;
  canvas.setAttribute("aria-label", `${titleOf(frame)}: ${text}, ${kind}`);
  const isNew = image.src !== imageOf(frame);
  if (isNew) {
    canvas.width = canvas.width; // clears the mask of the previous frame
  }
  image.onload = () => {
    stack.style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`;
    stack.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
  };
  if (segments) paint(canvas, index);
  for (const element of document.querySelectorAll(".switch"))
    element.setAttribute("aria-pressed", find(element.dataset.for).checked);
  if (isNew) image.src = imageOf(frame);
  find("previous").disabled = open === 0;
  find("next").disabled = open === listed.length - 1;
}

large.addEventListener("close", () => {
  const element = cards.get(listed[open]);
  open = -1;
  element?.focus();
});
find("close").addEventListener("click", () => large.close());
for (const element of document.querySelectorAll(".switch"))
  element.addEventListener("click", () => toggle(element.dataset.for));
find("previous").addEventListener("click", () => enlarge(open - 1));
find("next").addEventListener("click", () => enlarge(open + 1));

document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const box = { t: "show-truth", p: "show-mask", w: "show-why" }[event.key.toLowerCase()];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (large.open && step) enlarge(open + step);
  else if (!large.open && step && document.activeElement.classList.contains("frame")) {
    const next = step > 0 ? "nextElementSibling" : "previousElementSibling";
    document.activeElement[next]?.focus();
  } else if (box && find(box) && document.activeElement.tagName !== "SELECT") {
    toggle(box);
  } else return;
  event.preventDefault();
});

// === Controls ===

function mark(id, x, y) {
  const dot = find(id);
  if (!dot) return;
  dot.toggleAttribute("hidden", Number.isNaN(x + y));
  if (Number.isNaN(x + y)) return;
  dot.setAttribute("cx", 100 * x);
  dot.setAttribute("cy", 100 - 100 * y);
}

function toggle(box) {
  find(box).checked = !find(box).checked;
  repaint();
}

function repaint() {
  visible.forEach(refresh);
  if (open >= 0) showLarge();
}

function update() {
  const scores = score();
  const showValue = (id, text) => {
    if (!find(id)) return;
    find(`${id}-value`).textContent = text;
    find(id).setAttribute("aria-valuetext", text);
  };
  showValue("gate", state.gate.toFixed(3));
  showValue("mask", (state.level / (LEVELS - 1)).toFixed(3));
  showValue("area", `${(100 * state.area).toFixed(1)}%`);
  const live = [];
  if (segments) live.push(`<b id="live-dice">${number(scores.dice, 4)}</b> Kaggle Dice`, `${number(scores.nerveDice, 3)} on frames with a nerve`);
  if (gated) live.push(`gate sensitivity ${number(scores.sensitivity, 3)}`, `gate specificity ${number(scores.specificity, 3)}`);
  live.push(`finally ${scores.kinds("miss")} missed, ${scores.kinds("false alarm")} false alarms`);
  find("live").innerHTML = live.join(" · ");
  mark("on-roc", 1 - scores.specificity, scores.sensitivity);
  mark("on-pr", scores.sensitivity, scores.precision);
  mark("on-surface", state.gate, state.level / (LEVELS - 1));
  list();
  repaint();
}

let waiting = 0;
const soon = () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(update);
};

function moveSliders() {
  for (const [id, key] of [["gate", "gate"], ["mask", "level"], ["area", "area"]])
    if (find(id)) find(id).value = state[key];
}

for (const [id, key] of [["gate", "gate"], ["mask", "level"], ["area", "area"]])
  find(id)?.addEventListener("input", (event) => {
    state[key] = event.target.valueAsNumber;
    soon();
  });
find("reset").addEventListener("click", () => {
  Object.assign(state, runThresholds);
  moveSliders();
  soon();
});
for (const id of ["show-truth", "show-mask", "show-why"]) find(id)?.addEventListener("change", repaint);
for (const id of ["filter", "subject", "order"])
  find(id).addEventListener("change", () => {
    list();
    repaint();
  });

for (const subject of [...new Set(frames.filter((f) => f.image).map((f) => f.subject))].filter(Boolean))
  find("subject").append(new Option(subject, subject));
moveSliders();
unpack(report.counts).then((words) => {
  counts = words;
  update();
  document.documentElement.dataset.ready = "yes";
});
