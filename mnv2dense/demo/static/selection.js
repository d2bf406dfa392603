// From the model's outputs to results in the picture's own pixels: what mnv2dense/ops/postprocess.py and exported.py do.

import { labelMap, places } from "./label_map.js";

/**
 * @param {object} description of the model, or of one of its heads, see mnv2dense/runtimes/metadata.py.
 * @param {Object<string, {data: TypedArray, dims: number[]}>} outputs of one picture, by name; of that head alone.
 * @param {{width: number, height: number}} picture
 * @param {{scaleX, scaleY, offsetX, offsetY}} place of the picture in the input.
 */
export function select(description, outputs, picture, place) {
  if (description.task === "detection") return boxesOf(description, outputs, picture, place);
  if (description.task === "segmentation") return labelsOf(description, outputs, picture, place);
  return classesOf(outputs.scores.data);
}

// --- boxes ---------------------------------------------------------------------------------------------------

function boxesOf(description, outputs, picture, place) {
  const found = rowsOf(description, outputs);
  const boxes = found.map(({ box }) => toOriginal(box, picture, place));
  return { boxes, scores: found.map(({ score }) => score), labels: found.map(({ label }) => label) };
}

/** Boxes {box, score, label} in pixels of the input, best first. */
function rowsOf(description, outputs) {
  const boxes = outputs.boxes.data;
  const boxAt = (index) => boxes.slice(4 * index, 4 * index + 4);
  if (description.outputs === "selected_boxes") {
    const rows = [];
    outputs.labels.data.forEach((label, index) => {
      if (label >= 0) rows.push({ box: boxAt(index), score: outputs.scores.data[index], label: Number(label) });
    });
    return rows;
  }
  const scores = outputs.scores.data;
  const byClass = description.outputs === "nms_node"; // [K, A], else [A, K]
  const classes = description.class_names.length;
  const anchors = boxes.length / 4;
  const { score_threshold: least, nms_threshold: overlap, candidates, limit } = description.selection;
  const pairs = [];
  for (let index = 0; index < scores.length; index++) {
    if (!(scores[index] < Math.fround(least))) pairs.push(index);
  }
  pairs.sort((one, other) => scores[other] - scores[one] || one - other);
  const kept = [];
  const keptOfClass = Array.from({ length: classes }, () => []);
  for (const pair of pairs.slice(0, candidates)) {
    if (kept.length === limit) break;
    const label = byClass ? Math.floor(pair / anchors) : pair % classes;
    const box = boxAt(byClass ? pair % anchors : Math.floor(pair / classes));
    if (keptOfClass[label].every((other) => !(iou(other, box) > overlap))) {
      keptOfClass[label].push(box);
      kept.push({ box, score: scores[pair], label });
    }
  }
  return kept;
}

function iou(one, other) {
  const width = Math.max(0, Math.min(one[2], other[2]) - Math.max(one[0], other[0]));
  const height = Math.max(0, Math.min(one[3], other[3]) - Math.max(one[1], other[1]));
  const shared = width * height;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return shared / (area(one) + area(other) - shared);
}

function toOriginal(box, picture, place) {
  const along = (at, offset, scale, limit) => {
    const original = Math.fround(Math.fround(at - offset) / scale);
    return Math.min(Math.max(original, 0), limit);
  };
  return [
    along(box[0], place.offsetX, place.scaleX, picture.width),
    along(box[1], place.offsetY, place.scaleY, picture.height),
    along(box[2], place.offsetX, place.scaleX, picture.width),
    along(box[3], place.offsetY, place.scaleY, picture.height),
  ];
}

// --- masks ---------------------------------------------------------------------------------------------------

function labelsOf(description, outputs, picture, place) {
  const map = description.outputs === "labels" ? nearestLabels : likeliestLabels;
  const labels = map(description, outputs, picture, place);
  const counts = new Array(description.class_names.length).fill(0);
  for (const label of labels) counts[label]++;
  return { labels, shares: counts.map((count) => count / labels.length) };
}

function nearestLabels(description, outputs, picture, place) {
  const map = outputs.labels.data;
  const [height, width] = description.size;
  const across = Int32Array.from({ length: picture.width }, (_, x) => nearest(x, place.scaleX, place.offsetX, width));
  const labels = new Uint8Array(picture.width * picture.height);
  for (let y = 0, to = 0; y < picture.height; y++) {
    const row = nearest(y, place.scaleY, place.offsetY, height) * width;
    for (let x = 0; x < picture.width; x++) labels[to++] = map[row + across[x]];
  }
  return labels;
}

function nearest(pixel, scale, offset, inputPixels) {
  return Math.min(Math.max(Math.floor((pixel + 0.5) * scale + offset), 0), inputPixels - 1);
}

function likeliestLabels(description, outputs, picture, place) {
  const [, classes, rows, columns] = outputs.logits.dims;
  const [inputHeight, inputWidth] = description.size;
  const corners = description.selection.align_corners;
  const across = places(picture.width, place.scaleX, place.offsetX, inputWidth, columns, corners);
  const down = places(picture.height, place.scaleY, place.offsetY, inputHeight, rows, corners);
  return labelMap(outputs.logits.data, [classes, rows, columns], down, across);
}

// --- classes -------------------------------------------------------------------------------------------------

function classesOf(scores) {
  const labels = Array.from(scores, (_, label) => label);
  labels.sort((one, other) => scores[other] - scores[one] || one - other);
  return { labels, scores: labels.map((label) => scores[label]) };
}
