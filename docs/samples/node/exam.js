// Whether this program answers as Python did when the file was written, and what is wrong where it does not. What is
// compared, and how, is the demo page's own code.

import { answerOf, boxesApart, plainBox, pngOf, shareApart, verdict } from "../../../mnv2dense/demo/static/exam.js";
import { readPicture } from "./picture.js";

const INPUT_ROOM = 2; // of 255, in the mean of a part of the input
const RESULTS_ROOM = 0.25; // of results that come of right numbers: rounding moves a few
const GRID = 16; // pixels along each side at which a label map is looked at

/** Prints what came of the exam that the file carries; true if all is right. */
export async function examine(network) {
  const { description } = network;
  const { exam } = description;
  if (!exam) throw new Error("the file carries no exam; export it again");
  const answers = [];
  const found = [];
  for (const asked of exam.pictures) {
    const picture = await readPicture(Buffer.from(pngOf(asked)));
    const { planes, outputs, results } = await network.answer(picture);
    answers.push(answerOf(exam, [{ ...description, name: "" }], planes, outputs, [results]));
    found.push(plain(description.task, picture, results));
  }
  const report = verdict(exam, answers, network.weights);
  const distances = { results: resultsApart(description.task, exam, found), ...report.distances };
  // What int8 made of results is kept of boxes that the file selects itself alone; of others they tell nothing.
  const limits = exam.own_limits ? report.limits : { results: RESULTS_ROOM, ...report.limits };

  let passed = true;
  const line = (name, error, limit, unit = "") => {
    passed &&= error <= limit;
    console.log(`${name.padEnd(8)} ${error.toPrecision(2)}${unit} from Python's, ${limit} is allowed${error <= limit ? "" : ": WRONG"}`);
  };
  line("input", report.inputOff, INPUT_ROOM, " of 255");
  for (const name of Object.keys(limits).sort()) line(name, distances[name], limits[name]);
  const isRight = passed;

  const lost = report.changed.length + report.missing;
  passed &&= lost === 0;
  console.log(`weights  ${report.stored - lost} of ${report.stored} as written${lost ? ": WRONG" : ""}`);
  if (!isRight) {
    const otherwise = lost ? "the constants that were changed" : "none that the exam knows";
    console.log(`likely cause: ${report.causes.join(" or ") || otherwise}`);
  }
  for (const name of report.changed.slice(0, 3)) console.log(`changed: ${name}`);
  console.log(passed ? "passed" : "failed");
  return passed;
}

/** Results as the exam has them: boxes or classes; of a label map the classes on a grid. */
function plain(task, { width, height }, { boxes, scores, labels }) {
  if (task === "detection") return labels.map((label, row) => plainBox(label, scores[row], boxes[row]));
  if (task === "classification") return labels.slice(0, 3).map((label) => ({ label }));
  const middle = (part, side) => Math.floor(((part + 0.5) * side) / GRID);
  const parts = Array.from({ length: GRID }, (_, part) => part);
  return { grid: parts.map((row) => parts.map((column) => labels[middle(row, height) * width + middle(column, width)])) };
}

function resultsApart(task, exam, found) {
  const right = exam.pictures.map(({ results }) => results);
  if (task === "detection") return boxesApart(found, right, exam.score_threshold);
  const labels = (results) => results.grid?.flat() ?? results.map(({ label }) => label);
  return shareApart(found.map(labels), right.map(labels));
}
