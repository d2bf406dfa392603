// The page: pictures come in by file, drop, paste, sample or camera, and go out as drawings and words.

import { Camera } from "./camera.js";
import { check } from "./check.js";
import { draw } from "./drawing.js";
import { Model } from "./model.js";
import { partsOf } from "./parts.js";
import { duration, fillRows, fillSummary, jsonOf, megabytes, rowsOf } from "./results.js";

const NO_ROW = -1;

const byId = (id) => document.getElementById(id);
const root = document.documentElement;
const canvas = byId("canvas");
const stage = byId("stage");

const about = await readAbout();
const parts = partsOf(about);
const camera = new Camera(byId("video"));

let backend = "";
let shown = null; // {name, bitmap, width, height, results, milliseconds}
let highlight = null; // {part, row} that the pointer is on
const off = new Set(); // names of the parts that are switched off
let newest = 0; // of the pictures asked for; older ones that still wait are passed over
let free; // resolves when the model has nothing to do
let loaded;
free = new Promise((resolve) => (loaded = resolve));

const model = new Model(about, new URLSearchParams(location.search).get("backend"), {
  loading(share) {
    byId("progress").value = share;
  },
  ready(name, note, file) {
    backend = name;
    byId("fact-backend").textContent = name;
    byId("fact-backend").title = note;
    byId("progress").hidden = true;
    byId("summary").textContent = "Ready for a picture";
    root.dataset.state = "ready";
    loaded();
    check(about, `${file} ${name}`, (number) => inTurn(() => model.examine(number)), byId("exam"));
  },
  failed(reason) {
    byId("progress").hidden = true;
    byId("summary").textContent = "The model could not be loaded";
    complain(`The model could not be loaded: ${reason}.`);
  },
});

async function readAbout() {
  try {
    const response = await fetch("model.json");
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    return await response.json();
  } catch (error) {
    byId("progress").hidden = true;
    byId("summary").textContent = "There is no model here";
    complain(`model.json could not be read: ${error.message}.`);
    throw error;
  }
}

// --- pictures in ---------------------------------------------------------------------------------------------

/** Run the model on a picture, after those before it; only the newest is shown. */
async function analyse(source, name) {
  const turn = ++newest;
  byId("alert").hidden = true;
  await inTurn(async () => {
    if (turn !== newest) return;
    root.dataset.state = "busy";
    const answer = await model.run(source);
    if (turn === newest) show({ name, ...answer });
    else answer.bitmap.close();
  }).catch((error) => {
    if (turn === newest) complain(messageOf(error, name));
  });
}

/** Do something with the model when all that was asked of it before is done. */
async function inTurn(work) {
  const before = free;
  let done;
  free = new Promise((resolve) => (done = resolve));
  await before;
  try {
    return await work();
  } finally {
    done();
  }
}

function messageOf(error, name) {
  if (error.unreadable) return `${name} is no image that this browser can read. JPEG, PNG, WebP, GIF and BMP will do.`;
  return `${name} could not be analysed: ${error.message}.`;
}

function complain(message) {
  byId("alert").textContent = message;
  byId("alert").hidden = false;
  root.dataset.state = "error";
}

function choose(files) {
  if (files.length === 0) return complain("There was no file in that. Save the picture first, and drop or choose its file.");
  stopCamera();
  markSample(null);
  return analyse(files[0], files[0].name || "Pasted picture");
}

byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length > 0) choose(target.files);
  target.value = ""; // so that the same file can be chosen again
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length > 0) choose(event.clipboardData.files);
});
let depth = 0; // dragenter and dragleave come for every element on the way
addEventListener("dragenter", () => stage.classList.toggle("dragging", ++depth > 0));
addEventListener("dragleave", () => stage.classList.toggle("dragging", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  stage.classList.remove("dragging");
  choose(event.dataTransfer.files);
});

// --- samples -------------------------------------------------------------------------------------------------

function listSamples() {
  byId("samples").hidden = about.samples.length === 0;
  byId("sample-list").append(
    ...about.samples.map((sample) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      const image = new Image();
      image.src = sample.thumbnail;
      image.alt = sample.title;
      button.append(image);
      button.addEventListener("click", () => takeSample(sample, button));
      item.append(button);
      return item;
    }),
  );
}

async function takeSample(sample, button) {
  stopCamera();
  markSample(button);
  try {
    const response = await fetch(sample.file);
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    await analyse(await response.blob(), sample.title);
  } catch (error) {
    complain(messageOf(error, sample.title));
  }
}

function markSample(chosen) {
  for (const button of byId("sample-list").querySelectorAll("button")) {
    if (button === chosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

// --- camera --------------------------------------------------------------------------------------------------

byId("camera").addEventListener("click", async () => {
  if (camera.running) return stopCamera();
  byId("alert").hidden = true;
  try {
    markSample(null);
    await camera.start((frame) => analyse(frame, "Camera"));
    byId("camera").textContent = "Stop";
    byId("camera").setAttribute("aria-pressed", "true");
    byId("summary").setAttribute("aria-live", "off"); // it would never fall silent
  } catch (error) {
    camera.stop();
    complain(`The camera cannot be used: ${error.message}.`);
  }
});

function stopCamera() {
  camera.stop();
  byId("camera").textContent = "Camera";
  byId("camera").setAttribute("aria-pressed", "false");
  byId("summary").setAttribute("aria-live", "polite");
}
if (!navigator.mediaDevices) byId("camera").hidden = true;

// --- results out ---------------------------------------------------------------------------------------------

function show(answer) {
  shown?.bitmap.close();
  shown = answer;
  byId("empty").hidden = true;
  canvas.hidden = false;
  for (const id of ["save-png", "save-json"]) byId(id).disabled = false;
  byId("fact-time").textContent = duration(shown.milliseconds.model);
  byId("fact-whole").textContent = duration(shown.milliseconds.whole);
  tell();
  paint();
  const all = viewsOf(parts);
  globalThis.mnv2dense = { result: jsonOf(about, shown, all, backend, 0), labels: masksOf(all)[0]?.result.labels };
  root.dataset.state = "done";
}

/** Parts with what they found in the picture. */
function viewsOf(wanted) {
  return wanted.map((part) => ({ ...part, result: shown.results[parts.indexOf(part)], highlight: highlightOf(part) }));
}

function highlightOf(part) {
  if (highlight === null) return null;
  return highlight.part === part.name ? highlight.row : NO_ROW;
}

function visibleViews() {
  return viewsOf(parts.filter((part) => !off.has(part.name)));
}

function masksOf(views) {
  return views.filter(({ task }) => task === "segmentation");
}

/** A score, or "auto" for the model's own of each class. */
function threshold() {
  return byId("own-scores").checked ? "auto" : Number(byId("score").value);
}

function tell() {
  highlight = null; // its row is replaced, and would not say that the pointer left
  const groups = visibleViews().map((view) => ({ view, rows: rowsOf(view, threshold()) }));
  const summary = fillSummary(byId("summary"), groups);
  canvas.setAttribute("aria-label", `${shown.name}. ${summary}`);
  byId("save-labels").disabled = masksOf(groups.map(({ view }) => view)).length === 0;
  fillRows(byId("rows"), groups, (view, row) => {
    highlight = row === null ? null : { part: view.name, row };
    paint();
  });
}

function look(unit, legend) {
  return { threshold: threshold(), opacity: Number(byId("opacity").value), unit, legend };
}

function paint() {
  if (!shown) return;
  const ratio = devicePixelRatio || 1;
  // On a narrow screen the stage is as high as the picture.
  const heightLimit = matchMedia("(min-width: 861px)").matches ? stage.clientHeight : innerHeight * 0.7;
  const scale = Math.min(stage.clientWidth / shown.width, heightLimit / shown.height);
  const width = Math.max(1, Math.round(shown.width * scale * ratio));
  const height = Math.max(1, Math.round(shown.height * scale * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.style.width = `${width / ratio}px`;
  canvas.style.height = `${height / ratio}px`;
  draw(canvas.getContext("2d"), shown, visibleViews(), look(ratio, false));
}
new ResizeObserver(paint).observe(stage);

for (const id of ["score", "own-scores", "opacity"]) {
  byId(id).addEventListener("input", () => {
    writeControls();
    if (!shown) return;
    if (id !== "opacity") tell();
    paint();
  });
}

/** A switch for each of several parts. */
function listSwitches() {
  byId("switches").hidden = about.description.task !== "joint";
  byId("switches").append(
    ...parts.map((part) => {
      const label = document.createElement("label");
      label.className = "button switch";
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.name = part.name;
      label.append(box, part.name);
      box.addEventListener("change", () => {
        if (box.checked) off.delete(part.name);
        else off.add(part.name);
        if (!shown) return;
        tell();
        paint();
      });
      return label;
    }),
  );
}

function writeControls() {
  byId("score").disabled = byId("own-scores").checked;
  byId("score-value").textContent = byId("own-scores").checked ? "each class's own" : Number(byId("score").value).toFixed(2);
  byId("opacity-value").textContent = `${Math.round(100 * byId("opacity").value)} %`;
}

// --- saving --------------------------------------------------------------------------------------------------

byId("save-png").addEventListener("click", async () => {
  const whole = new OffscreenCanvas(shown.width, shown.height);
  const views = visibleViews().map((view) => ({ ...view, highlight: null }));
  draw(whole.getContext("2d"), shown, views, look(Math.max(1, Math.sqrt(shown.width * shown.height) / 550), true));
  save(await whole.convertToBlob({ type: "image/png" }), "png");
});
byId("save-labels").addEventListener("click", async () => {
  const several = masksOf(parts).length > 1;
  const { width, height } = shown;
  for (const { name, result } of masksOf(visibleViews())) {
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    result.labels.forEach((label, at) => (pixels[at] = 0xff000000 | (label * 0x010101)));
    const whole = new OffscreenCanvas(width, height);
    whole.getContext("2d").putImageData(image, 0, 0);
    save(await whole.convertToBlob({ type: "image/png" }), several ? `${name}.labels.png` : "labels.png");
  }
});
byId("save-json").addEventListener("click", () => {
  const text = JSON.stringify(jsonOf(about, shown, visibleViews(), backend, threshold()), null, 2);
  save(new Blob([text, "\n"], { type: "application/json" }), "json");
});

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${shown.name.replace(/\.[a-z0-9]+$/i, "")}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// --- start ---------------------------------------------------------------------------------------------------

document.title = `${about.title} · mnv2dense`;
// A long name may break after its underscores.
byId("title").replaceChildren(...about.title.split(/(?<=_)/).flatMap((part) => [part, document.createElement("wbr")]));
const [inputHeight, inputWidth] = about.description.size;
const kinds = parts.map(({ task, class_names: names }) => `${task}, ${names.length === 1 ? "1 class" : `${names.length} classes`}`).join(" + ");
byId("about").textContent = `${kinds[0].toUpperCase()}${kinds.slice(1)}, ${inputWidth} × ${inputHeight}, ${about.description.precision}`;
byId("fact-size").textContent = megabytes(about.bytes);
const detectors = parts.filter(({ task }) => task === "detection");
byId("score-control").hidden = detectors.length === 0;
if (detectors.length > 0) byId("score").min = Math.min(...detectors.map(({ selection }) => selection.score_threshold));
byId("own-scores-control").hidden = detectors.length === 0 || detectors.some(({ least }) => least === null);
byId("own-scores").checked = about.threshold === "auto" && !byId("own-scores-control").hidden;
if (typeof about.threshold === "number") byId("score").value = about.threshold;
byId("opacity-control").hidden = byId("save-labels").hidden = masksOf(parts).length === 0;
listSwitches();
writeControls();
listSamples();
if (about.samples.length > 0) takeSample(about.samples[0], byId("sample-list").querySelector("button"));
