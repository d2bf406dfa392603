// The exam that a model's file carries, taken here: what mnv2dense/runtimes/checking.py does, for any JavaScript.
//
// Who runs the model gives what it answered to each picture of the exam; nothing here needs a page.

const NEARER = 0.6; // a fault is named whose answers are at least so much nearer than the right ones
const ALIKE = 0.01; // and others that are as near but for this and a tenth
const INPUT_ROOM = 2; // means of a prepared input may differ by this: other ways to round
const SAME_BOX = 0.5; // IoU
const MOST_BOXES = 20; // of one picture
const GRID = 8;
const NAMED = 3;
const DAMAGED = 0.02; // where more constants than this share differ, they are other weights, not damaged ones

/** @returns {Uint8Array} the PNG of one of the exam's pictures. */
export function pngOf(picture) {
  return Uint8Array.from(atob(picture.png), (letter) => letter.charCodeAt(0));
}

/**
 * What one picture came to, to be handed to verdict().
 * @param {object} exam description.exam.
 * @param {object[]} parts the heads, as partsOf() gives them.
 * @param {Uint8Array} planes the prepared input, 3 x height x width.
 * @param {Object<string, {data: TypedArray}>} outputs of the file, for this one picture.
 * @param {object[]} results of each head, as select() gives them.
 */
export function answerOf(exam, parts, planes, outputs, results) {
  const values = {};
  const labels = parts.filter((part) => part.outputs === "labels").map(({ name }) => (name ? `${name}_labels` : "labels"));
  for (const [name, places] of Object.entries(exam.at)) {
    const { data } = outputs[name];
    values[name] = places.map((place) => {
      if (place >= data.length) throw new Error(`the exam looks at place ${place} of ${data.length} values`);
      const value = Number(data[place]);
      return Number.isNaN(value) ? 1e9 : Math.min(Math.max(value, -1e9), 1e9);
    });
  }
  const boxes = {};
  parts.forEach((part, number) => {
    if (part.outputs !== "selected_boxes") return;
    const found = results[number];
    boxes[part.name ? `${part.name}_results` : "results"] = {
      head: part.name,
      found: found.boxes.map((box, row) => plainBox(found.labels[row], found.scores[row], box)),
    };
  });
  return { values, labels, boxes, means: inputMeans(planes, parts[0].size) };
}

/** As the exam has boxes: the score to four places, sides to one. */
export function plainBox(label, score, box) {
  const to = (places, value) => Math.round(value * 10 ** places) / 10 ** places;
  return { label, score: to(4, score), box: box.map((side) => to(1, side)) };
}

/**
 * @param {object} exam description.exam.
 * @param {object[]} answers what answerOf() gave of each picture.
 * @param {Map<string, number>} stored what checksums() says of the file.
 * @returns {object} {equal, distances, limits, differing, causes, changed, missing, stored, pictures, inputOff}: output ->
 *   distance to the model's answers, or to the file's own of then, as a share of their spread; outputs beyond their limits, the worst first; faults
 *   whose answers are the nearest; names of constants that are not as written; how many are gone, of how many; the
 *   largest difference of a mean of the prepared inputs, 0..255.
 */
export function verdict(exam, answers, stored) {
  const compared = [comparison(exam, answers, exam.limits, false)];
  if (exam.own_limits) compared.push(comparison(exam, answers, exam.own_limits, true));
  const { distances, limits } = compared.at(-1);
  const over = (name) => distances[name] / limits[name];
  const differing = Object.keys(distances).filter((name) => !(distances[name] <= limits[name]));
  differing.sort((one, other) => over(other) - over(one));
  const written = Object.entries(exam.weights ?? {});
  const changed = written.filter(([name, crc]) => stored.has(name) && stored.get(name) !== crc).map(([name]) => name);
  return {
    equal: differing.length === 0 && changed.length === 0,
    distances,
    limits,
    differing,
    // A gross fault changes what rounding does, so the answers as they are tell it; a small one is told without that.
    causes: (differing.length > 0 && compared.map(nearest).find((causes) => causes.length > 0)) || [],
    changed,
    missing: written.filter(([name]) => !stored.has(name)).length,
    stored: written.length,
    pictures: answers.length,
    inputOff: Math.max(...answers.map(({ means }, number) => farthest(means, exam.pictures[number].input.flat(2)))),
  };
}

/** Distances to the model's answers; or, where the file's rounding is coarse, to its own when it was written. */
function comparison(exam, answers, limits, isOwn) {
  const distances = {};
  const byFault = Object.fromEntries(Object.keys(exam.pictures[0].otherwise).map((fault) => [fault, {}]));
  for (const name of Object.keys(exam.at)) {
    const isLabels = answers[0].labels.includes(name);
    const right = exam.pictures.map((picture) => picture.answers[name]);
    const found = answers.map(({ values }, number) =>
      isOwn ? lessRounding(values[name], exam.pictures[number].own[name], right[number], isLabels) : values[name],
    );
    const apart = isLabels ? shareApart : distanceBy(spreadOf(right));
    distances[name] = apart(found, right);
    for (const [fault, far] of Object.entries(byFault)) {
      far[name] = apart(found, exam.pictures.map(({ otherwise }) => otherwise[fault][name]));
    }
  }
  for (const [key, { head }] of Object.entries(answers[0].boxes)) {
    const found = answers.map(({ boxes }) => boxes[key].found);
    const right = exam.pictures.map(({ results, own }) => (isOwn ? own[key] : head ? results[head] : results));
    distances[key] = boxesApart(found, right, exam.score_threshold);
    for (const [fault, far] of Object.entries(byFault)) {
      far[key] = boxesApart(found, exam.pictures.map(({ otherwise }) => otherwise[fault]?.[key] ?? []), exam.score_threshold);
    }
  }
  return { distances, byFault, limits };
}

/** Sentences of a verdict: what differs, the likely cause, what to do. `causes` has {said, next_step} of known faults. */
export function sentencesOf(report, causes = {}) {
  if (report.equal) return ["Checked on this device: as in Python"];
  return [whatOf(report), `Likely cause: ${causeOf(report, causes)}.`, nextOf(report, causes)];
}

/** How far the worst output is from the model's, for whoever wants to know. */
export function detailsOf(report) {
  const each = Object.entries(report.distances).map(([name, far]) => `${name} ${share(far)} (allowed ${share(report.limits[name])})`);
  return `${report.pictures} pictures, off by: ${each.join(", ")}`;
}

function whatOf({ differing, distances, limits, changed }) {
  if (differing.length === 0) return `The model's file is not as it was written (${named(changed)}), though its answers are right.`;
  const [worst, ...others] = differing;
  const more = others.length > 0 ? ` and ${others.join(", ")}` : "";
  return `This model answers otherwise here than in Python: ${worst}${more}, by ${share(distances[worst])} where ${share(limits[worst])} is allowed.`;
}

function isDamaged({ changed, stored }) {
  return changed.length > 0 && changed.length <= Math.max(NAMED, DAMAGED * stored);
}

function causeOf({ causes: faults, ...report }, causes) {
  const { changed, missing, stored } = report;
  if (faults.length > 0) {
    const [fault, ...others] = faults;
    const also = others.length > 0 ? `; or ${others.join(" or ")}, which the exam can hardly tell from it` : "";
    return `${fault}${causes[fault] ? `, that is, ${causes[fault].said}` : ""}${also}`;
  }
  if (isDamaged(report)) return `weights changed after export: ${named(changed)}`;
  if (report.inputOff > INPUT_ROOM) return "this browser changes the pixels that pages read, as some do against tracking";
  if (changed.length > 0 || missing > stored / 2) return "none of the known ones; the weights are others than those of the export";
  if (stored === 0) return "none of the known ones";
  return "none of the known ones; all weights are as written, so the runtime computes otherwise";
}

function nextOf(report, causes) {
  const [fault] = report.causes;
  if (fault) return causes[fault]?.next_step ?? "Export the file again.";
  if (isDamaged(report)) return "Copy the file again from where it was exported, or export it again.";
  if (report.inputOff > INPUT_ROOM) return "Allow this page to read canvases, or take another browser.";
  return `Do not rely on ${report.differing[0] ?? "it"}; try another browser, or ?backend=wasm after the address.`;
}

// --- distances -----------------------------------------------------------------------------------------------

/** Root of the sum of squares about the mean of all, what distances are a share of; 1 where all are equal. */
function spreadOf(lists) {
  const every = lists.flat();
  const mean = every.reduce((sum, value) => sum + value, 0) / every.length;
  return Math.sqrt(every.reduce((sum, value) => sum + (value - mean) ** 2, 0)) || 1;
}

const distanceBy = (spread) => (found, right) => {
  const others = right.flat();
  return Math.sqrt(found.flat().reduce((sum, value, place) => sum + (value - others[place]) ** 2, 0)) / spread;
};

/** Values without what the file's rounding had changed when it was written. */
function lessRounding(values, own, right, isLabels) {
  return values.map((value, place) => {
    if (isLabels) return value === own[place] ? right[place] : value;
    return value - own[place] + right[place];
  });
}

/** Of labels, which are equal or not: the share that is not. Lists, one of each picture. */
export function shareApart(found, right) {
  const others = right.flat();
  return found.flat().filter((value, place) => value !== others[place]).length / Math.max(1, others.length);
}

/**
 * @param {object[][]} found of each picture {label, score, box}.
 * @param {object[][]} right likewise.
 * @returns {number} what is apart, as a share of both together: 0 where all agree, 1 where nothing does.
 */
export function boxesApart(found, right, threshold) {
  let apart = 0;
  let total = 0;
  found.forEach((boxes, picture) => {
    const [one, all] = boxDistance(boxes, right[picture], threshold);
    apart += one;
    total += all;
  });
  return total > 0 ? apart / total : 0;
}

/** How far two answers in boxes are apart, and what that is a share of: each counts by its score above the threshold. */
function boxDistance(first, second, threshold) {
  const [ours, left] = [first, second].map((boxes) =>
    boxes.filter(({ score }) => score > threshold).sort((one, other) => other.score - one.score).slice(0, MOST_BOXES),
  );
  const weight = (sum, { score }) => sum + score - threshold;
  const total = [...ours, ...left].reduce(weight, 0);
  let apart = 0;
  for (const box of ours) {
    const overlaps = left.map((other) => (other.label === box.label ? iou(box.box, other.box) : 0));
    const most = Math.max(...overlaps, 0);
    if (most < SAME_BOX) {
      apart += box.score - threshold;
      continue;
    }
    const [other] = left.splice(overlaps.indexOf(most), 1);
    apart += Math.abs(box.score - other.score) + (1 - most) * (Math.min(box.score, other.score) - threshold);
  }
  return [left.reduce(weight, apart), total];
}

function iou(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(one) + area(other) - width * height);
}

/** The faults whose answers are the nearest, the nearest first, where they are clearly nearer than the right ones. */
function nearest({ distances, byFault, limits }) {
  const together = (each) => Math.hypot(...Object.entries(each).map(([name, far]) => far / Math.max(limits[name], 1e-6)));
  const own = together(distances);
  const shares = Object.entries(byFault).map(([fault, each]) => [fault, together(each) / own]);
  const found = shares.filter(([, share]) => share < NEARER).sort(([, one], [, other]) => one - other);
  return found.filter(([, share]) => share <= 1.1 * found[0][1] + ALIKE).map(([fault]) => fault);
}

/** Means of 8 x 8 equal parts of an input 3 x height x width, channel by channel, row by row. */
export function inputMeans(planes, [height, width]) {
  const edge = (side, part) => Math.floor((side * part) / GRID);
  const means = [];
  for (let channel = 0; channel < 3; channel++) {
    for (let row = 0; row < GRID; row++) {
      for (let column = 0; column < GRID; column++) {
        let sum = 0;
        let count = 0;
        for (let y = edge(height, row); y < edge(height, row + 1); y++) {
          const from = (channel * height + y) * width;
          for (let x = edge(width, column); x < edge(width, column + 1); x++, count++) sum += planes[from + x];
        }
        means.push(sum / count);
      }
    }
  }
  return means;
}

function farthest(ones, others) {
  return ones.reduce((most, value, at) => Math.max(most, Math.abs(value - others[at])), 0);
}

function named(names) {
  return names.slice(0, NAMED).join(", ") + (names.length > NAMED ? ` and ${names.length - NAMED} more` : "");
}

function share(value) {
  return value < 10 ? `${Number((100 * value).toPrecision(2))} %` : `${Math.round(value)} times`;
}
