// The model, in a thread of its own: takes pictures, answers with results in their pixels.

import { checksums, crc32 } from "./constants.js";
import { answerOf, pngOf, verdict } from "./exam.js";
import { fit, resize } from "./geometry.js";
import { outputsOf, partsOf } from "./parts.js";
import { select } from "./selection.js";

const MOST_THREADS = 8;

let ort;
let session;
let about;
let parts;
let file; // the model's bytes, until its exam is over
let examined = []; // answers so far

const say = (message, transfer = []) => self.postMessage(message, transfer);

self.onmessage = async ({ data }) => {
  if (data.kind === "load") return load(data).catch((error) => say({ kind: "failed", reason: reasonOf(error) }));
  try {
    if (data.kind === "examine") await examine(data);
    else await answer(data);
  } catch (error) {
    say({ kind: "refused", id: data.id, unreadable: error instanceof UnreadableError, reason: reasonOf(error) });
  }
};

class UnreadableError extends Error {}

function reasonOf(error) {
  return error instanceof Error ? error.message : String(error);
}

async function load({ about: given, backend: wanted }) {
  about = given;
  parts = partsOf(about);
  file = await fetchModel();
  let backend;
  let note = "";
  if (wanted !== "wasm") {
    try {
      backend = await loadOnGpu(file, wanted);
    } catch (error) {
      note = `WebGPU was tried and failed: ${reasonOf(error)}`;
    }
  }
  backend ??= await loadOnCpu(file);
  say({ kind: "ready", backend, note, model: `${file.length}-${crc32(file).toString(16)}` });
}

async function fetchModel() {
  const response = await fetch(about.file);
  if (!response.ok) throw new Error(`${about.file}: the server answers ${response.status}`);
  const content = new Uint8Array(about.bytes);
  let have = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (have + value.length > about.bytes) throw new Error(`${about.file} is another file than model.json describes`);
    content.set(value, have);
    have += value.length;
    say({ kind: "loading", share: have / about.bytes });
  }
  if (have !== about.bytes) throw new Error(`${about.file} ended after ${have} of ${about.bytes} bytes`);
  return content;
}

/** Undefined where there is no GPU; one that a CPU plays is slower than WebAssembly, and taken only if it is asked for. */
async function loadOnGpu(model, wanted) {
  const adapter = await self.navigator.gpu?.requestAdapter();
  const played = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter;
  if (!adapter || (played && wanted !== "webgpu")) return undefined;
  await useRuntime("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify", 1);
  session = await ort.InferenceSession.create(model, { executionProviders: ["webgpu"] });
  await warmUp();
  return "WebGPU";
}

async function loadOnCpu(model) {
  const threads = self.crossOriginIsolated ? Math.min(self.navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
  await useRuntime("ort.wasm.min.mjs", "ort-wasm-simd-threaded", threads);
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  await warmUp();
  if (!self.crossOriginIsolated) return "WebAssembly, one thread: the host sends no headers for more";
  return `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}`;
}

async function useRuntime(script, wasm, threads) {
  const folder = new URL("./runtime/", self.location.href).href;
  ort = await import(folder + script);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { mjs: `${folder}${wasm}.mjs`, wasm: `${folder}${wasm}.wasm` };
}

/** The first run compiles and allocates; a time of it would mislead. */
async function warmUp() {
  const [height, width] = about.description.size;
  await infer(new Uint8Array(3 * height * width));
}

async function infer(planes) {
  const [height, width] = about.description.size;
  const feeds = { [session.inputNames[0]]: new ort.Tensor("uint8", planes, [1, 3, height, width]) };
  return session.run(feeds);
}

/** data: {id, source: Blob or ImageBitmap}. */
async function answer({ id, source }) {
  const started = performance.now();
  const bitmap = source instanceof ImageBitmap ? source : await decode(source);
  const { width, height } = bitmap;
  const { outputs, results, model } = await look(bitmap);
  for (const output of Object.values(outputs)) output.dispose();
  const milliseconds = { model, whole: performance.now() - started };
  const masks = results.filter((result) => result.labels instanceof Uint8Array);
  const transfer = [bitmap, ...masks.map((result) => result.labels.buffer)];
  say({ kind: "answer", id, bitmap, width, height, results, milliseconds }, transfer);
}

/** data: {id, number: of the exam's picture}; with the last one goes the verdict. */
async function examine({ id, number }) {
  const { exam } = about.description;
  const bitmap = await decode(new Blob([pngOf(exam.pictures[number])], { type: "image/png" }));
  const { planes, outputs, results } = await look(bitmap);
  bitmap.close();
  examined[number] = answerOf(exam, parts, planes, outputs, results);
  for (const output of Object.values(outputs)) output.dispose();
  let report = null;
  if (number === exam.pictures.length - 1) {
    report = verdict(exam, examined, checksums(file));
    file = null;
    examined = [];
  }
  say({ kind: "answer", id, report });
}

/** What the model makes of a picture: its input, its outputs, each head's result, and the milliseconds of the run. */
async function look(bitmap) {
  const { width, height } = bitmap;
  const { size, resize: mode } = about.description;
  const place = fit(height, width, size, mode);
  const planes = resize(pixelsOf(bitmap), width, height, size, mode);
  const prepared = performance.now();
  const outputs = await infer(planes);
  const model = performance.now() - prepared;
  const results = parts.map((part) => select(part, outputsOf(part, outputs), { width, height }, place));
  return { planes, outputs, results, model };
}

async function decode(blob) {
  try {
    // Upright, and the numbers that the file holds: the model was trained on those.
    return await createImageBitmap(blob, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch (error) {
    throw new UnreadableError(reasonOf(error));
  }
}

function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true, alpha: false });
  context.fillStyle = "#fff"; // under what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}
