// Whether this program answers as Python did when the file was written, and what is wrong where it does not.

import { distances, nearestFault } from "./distances.js";
import { readPicture } from "./picture.js";

const PARTS = 8; // of the input along each side, whose means are compared
const LARGEST_MEAN_ERROR = 2; // of 255
const GRID = 16; // pixels along each side at which a label map is looked at
const LARGEST_RESULT_ERROR = 0.25; // of results that come of right numbers: rounding moves a few

/** Prints what came of the exam that the file carries; true if all is right. */
export async function examine(network) {
  const { exam } = network.description;
  if (!exam) throw new Error("the file carries no exam; export it again");
  let meanError = 0;
  const ours = [];
  for (const asked of exam.pictures) {
    const picture = await readPicture(Buffer.from(asked.png, "base64"));
    const { planes, outputs, results } = await network.answer(picture);
    meanError = Math.max(meanError, inputError(planes, network.description.size, asked.input));
    const values = Object.entries(exam.at).map(([name, places]) => [name, places.map((place) => finite(outputs[name].data[place]))]);
    ours.push({ ...Object.fromEntries(values), results: plain(network.description.task, picture, results) });
  }

  let passed = true;
  const line = (name, error, limit, unit = "") => {
    passed &&= error <= limit;
    console.log(`${name.padEnd(8)} ${error.toPrecision(2)}${unit} from Python's, ${limit} is allowed${error <= limit ? "" : ": WRONG"}`);
  };
  line("input", meanError, LARGEST_MEAN_ERROR, " of 255");
  const limits = { ...exam.limits, results: exam.limits.results ?? LARGEST_RESULT_ERROR };
  const { task } = network.description;
  for (const [name, apart] of Object.entries(distances(task, exam, ours, limits))) line(name, apart, limits[name]);
  const areRight = passed;

  const names = Object.keys(exam.weights);
  const changed = names.filter((name) => network.weights.get(name) !== exam.weights[name]);
  passed &&= changed.length === 0;
  console.log(`weights  ${names.length - changed.length} of ${names.length} as written${changed.length ? ": WRONG" : ""}`);
  if (!areRight) {
    const otherwise = changed.length ? "the constants that were changed" : "none that the exam knows";
    console.log(`likely cause: ${nearestFault(task, exam, ours) ?? otherwise}`);
  }
  for (const name of changed.slice(0, 3)) console.log(`changed: ${name}`);
  console.log(passed ? "passed" : "failed");
  return passed;
}

/** By how much the mean of a part of the input is off at most, 0..255. */
function inputError(planes, [height, width], expected) {
  const edge = (part, side) => Math.floor((part * side) / PARTS);
  let worst = 0;
  expected.forEach((rows, channel) => {
    rows.forEach((columns, row) => {
      columns.forEach((mean, column) => {
        let sum = 0;
        let count = 0;
        for (let y = edge(row, height); y < edge(row + 1, height); y++) {
          for (let x = edge(column, width); x < edge(column + 1, width); x++, count++) {
            sum += planes[(channel * height + y) * width + x];
          }
        }
        worst = Math.max(worst, Math.abs(sum / count - mean));
      });
    });
  });
  return worst;
}

function finite(value) {
  return Math.max(-1e9, Math.min(1e9, Number.isNaN(value) ? 1e9 : Number(value)));
}

/** Results as the exam has them. */
function plain(task, { width, height }, { boxes, scores, labels }) {
  if (task === "segmentation") {
    const middle = (part, side) => Math.floor(((part + 0.5) * side) / GRID);
    const parts = Array.from({ length: GRID }, (_, part) => part);
    return { grid: parts.map((row) => parts.map((column) => labels[middle(row, height) * width + middle(column, width)])) };
  }
  return labels.map((label, row) => ({ label, score: scores[row], box: boxes?.[row] }));
}
