// From the model's outputs to results in the picture's own pixels: what mnv2dense/ops/postprocess.py and exported.py do.

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

/** Bilinear upsampling of the logits [1, K, h, w] and argmax together, one row of pixels at a time. */
function likeliestLabels(description, outputs, picture, place) {
  const logits = outputs.logits.data;
  const [, classes, rows, columns] = outputs.logits.dims;
  const [inputHeight, inputWidth] = description.size;
  const corners = description.selection.align_corners;
  const across = places(picture.width, place.scaleX, place.offsetX, inputWidth, columns, corners);
  const down = places(picture.height, place.scaleY, place.offsetY, inputHeight, rows, corners);
  const width = picture.width;
  const labels = new Uint8Array(width * picture.height);
  const wide = new Float32Array(classes * rows * width); // [K, h, W]
  for (let line = 0; line < classes * rows; line++) {
    const from = line * columns;
    for (let x = 0, to = line * width; x < width; x++, to++) {
      wide[to] = lerp(logits[from + across.low[x]], logits[from + across.high[x]], across.share[x]);
    }
  }
  const best = new Float32Array(width);
  for (let y = 0; y < picture.height; y++) {
    const row = labels.subarray(y * width, (y + 1) * width);
    best.fill(-Infinity);
    const share = down.share[y];
    for (let label = 0; label < classes; label++) {
      const low = (label * rows + down.low[y]) * width;
      const high = (label * rows + down.high[y]) * width;
      for (let x = 0; x < width; x++) {
        const value = Math.fround(lerp(wide[low + x], wide[high + x], share));
        if (value > best[x]) {
          best[x] = value;
          row[x] = label;
        }
      }
    }
  }
  return labels;
}

/** Where the pixels of one side read the logits: between cells low and high. */
function places(pixels, scale, offset, inputPixels, cells, alignCorners) {
  const low = new Int32Array(pixels);
  const high = new Int32Array(pixels);
  const share = new Float32Array(pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const atInput = (pixel + 0.5) * scale + offset;
    const raw = alignCorners
      ? (atInput - 0.5) * ((cells - 1) / Math.max(1, inputPixels - 1))
      : atInput * (cells / inputPixels) - 0.5;
    const at = Math.min(Math.max(raw, 0), cells - 1);
    low[pixel] = Math.floor(at);
    high[pixel] = Math.min(low[pixel] + 1, cells - 1);
    share[pixel] = at - low[pixel];
  }
  return { low, high, share };
}

function lerp(start, end, share) {
  return share < 0.5 ? start + share * (end - start) : end - (end - start) * (1 - share);
}

// --- classes -------------------------------------------------------------------------------------------------

function classesOf(scores) {
  const labels = Array.from(scores, (_, label) => label);
  labels.sort((one, other) => scores[other] - scores[one] || one - other);
  return { labels, scores: labels.map((label) => scores[label]) };
}
