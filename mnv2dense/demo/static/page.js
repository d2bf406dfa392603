// The page: pictures come in by file, drop, paste, sample or camera, and go out as drawings and words.

import { Camera } from "./camera.js";
import { draw } from "./drawing.js";
import { Model } from "./model.js";
import { duration, fillRows, jsonOf, megabytes, rowsOf, summaryOf } from "./results.js";

const byId = (id) => document.getElementById(id);
const root = document.documentElement;
const canvas = byId("canvas");
const stage = byId("stage");

const about = await readAbout();
const { task, class_names: names } = about.description;
const camera = new Camera(byId("video"));

let backend = "";
let shown = null; // {name, bitmap, width, height, result, milliseconds}
let highlight = null; // the row that the pointer is on
let newest = 0; // of the pictures asked for; older ones that still wait are passed over
let free; // resolves when the model has nothing to do
let loaded;
free = new Promise((resolve) => (loaded = resolve));

const model = new Model(about, new URLSearchParams(location.search).get("backend"), {
  loading(share) {
    byId("progress").value = share;
  },
  ready(name, note) {
    backend = name;
    byId("fact-backend").textContent = name;
    byId("fact-backend").title = note;
    byId("progress").hidden = true;
    byId("summary").textContent = "Ready for a picture";
    root.dataset.state = "ready";
    loaded();
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
  const before = free;
  let done;
  free = new Promise((resolve) => (done = resolve));
  await before;
  try {
    if (turn !== newest) return;
    root.dataset.state = "busy";
    const answer = await model.run(source);
    if (turn === newest) show({ name, ...answer });
    else answer.bitmap.close();
  } catch (error) {
    if (turn === newest) complain(messageOf(error, name));
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
  highlight = null;
  byId("empty").hidden = true;
  canvas.hidden = false;
  for (const id of ["save-png", "save-labels", "save-json"]) byId(id).disabled = false;
  byId("fact-time").textContent = duration(shown.milliseconds.model);
  byId("fact-whole").textContent = duration(shown.milliseconds.whole);
  tell();
  paint();
  globalThis.mnv2dense = { result: jsonOf(about, shown, backend, 0), labels: shown.result.labels };
  root.dataset.state = "done";
}

function threshold() {
  return task === "detection" ? Number(byId("score").value) : 0;
}

function tell() {
  const rows = rowsOf(task, shown.result, names, threshold());
  const summary = summaryOf(task, rows, names);
  byId("summary").textContent = summary;
  canvas.setAttribute("aria-label", `${shown.name}. ${summary}`);
  fillRows(byId("rows"), rows, names, task === "classification" ? null : about.colors, (row) => {
    highlight = row;
    paint();
  });
}

function look(unit, legend) {
  const opacity = Number(byId("opacity").value);
  return { task, names, colors: about.colors, threshold: threshold(), opacity, highlight: legend ? null : highlight, unit, legend };
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
  draw(canvas.getContext("2d"), shown, look(ratio, false));
}
new ResizeObserver(paint).observe(stage);

for (const id of ["score", "opacity"]) {
  byId(id).addEventListener("input", () => {
    writeControls();
    if (!shown) return;
    if (id === "score") tell();
    paint();
  });
}

function writeControls() {
  byId("score-value").textContent = Number(byId("score").value).toFixed(2);
  byId("opacity-value").textContent = `${Math.round(100 * byId("opacity").value)} %`;
}

// --- saving --------------------------------------------------------------------------------------------------

byId("save-png").addEventListener("click", async () => {
  const whole = new OffscreenCanvas(shown.width, shown.height);
  draw(whole.getContext("2d"), shown, look(Math.max(1, Math.sqrt(shown.width * shown.height) / 550), true));
  save(await whole.convertToBlob({ type: "image/png" }), "png");
});
byId("save-labels").addEventListener("click", async () => {
  const image = new ImageData(shown.width, shown.height);
  const pixels = new Uint32Array(image.data.buffer);
  shown.result.labels.forEach((label, at) => (pixels[at] = 0xff000000 | (label * 0x010101)));
  const whole = new OffscreenCanvas(shown.width, shown.height);
  whole.getContext("2d").putImageData(image, 0, 0);
  save(await whole.convertToBlob({ type: "image/png" }), "labels.png");
});
byId("save-json").addEventListener("click", () => {
  const text = JSON.stringify(jsonOf(about, shown, backend, threshold()), null, 2);
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
const classes = names.length === 1 ? "1 class" : `${names.length} classes`;
byId("about").textContent = `${task[0].toUpperCase()}${task.slice(1)}, ${classes}, ${inputWidth} × ${inputHeight}, ${about.description.precision}`;
byId("fact-size").textContent = megabytes(about.bytes);
byId("score-control").hidden = task !== "detection";
byId("opacity-control").hidden = task !== "segmentation";
byId("save-labels").hidden = task !== "segmentation";
if (task === "detection") byId("score").min = about.description.selection.score_threshold;
writeControls();
listSamples();
if (about.samples.length > 0) takeSample(about.samples[0], byId("sample-list").querySelector("button"));
