// node sample.js detector.onnx photo.jpg out.png   what is in the picture, printed and drawn
// node sample.js detector.onnx --exam              whether this program answers as Python did when the file was written

import { writeFile } from "node:fs/promises";

import { drawn } from "./draw.js";
import { examine } from "./exam.js";
import { Network } from "./network.js";
import { readPicture } from "./picture.js";

const LEAST_SCORE = 0.4; // of boxes that are shown
const USAGE = "node sample.js detector.onnx photo.jpg out.png\nnode sample.js detector.onnx --exam";

async function main(file, photo, target) {
  if (!file || !photo || (photo !== "--exam" && !target)) throw new Error(USAGE);
  const network = await Network.open(file);
  if (photo === "--exam") return (await examine(network)) ? 0 : 1;
  const picture = await readPicture(photo);
  const results = shownOf(network.description, (await network.answer(picture)).results);
  print(network.description, results);
  await writeFile(target, await drawn(picture, network.description, results));
  return 0;
}

/** Files keep far more boxes, for scores of precision and recall. */
function shownOf({ task }, results) {
  if (task !== "detection") return results;
  const rows = results.scores.flatMap((score, row) => (score < LEAST_SCORE ? [] : [row]));
  const [boxes, scores, labels] = [results.boxes, results.scores, results.labels].map((each) => rows.map((row) => each[row]));
  return { boxes, scores, labels };
}

function print({ task, class_names: names }, { boxes, scores, labels, shares }) {
  if (task === "segmentation") {
    shares.forEach((share, label) => share > 0 && console.log(`${names[label]} ${(100 * share).toFixed(1)}%`));
    return;
  }
  const shown = task === "detection" ? labels : labels.slice(0, 3);
  shown.forEach((label, row) => {
    const box = boxes ? `  ${boxes[row].map((side) => side.toFixed(1)).join(" ")}` : "";
    console.log(`${names[label]} ${scores[row].toFixed(3)}${box}`);
  });
}

try {
  process.exit(await main(...process.argv.slice(2)));
} catch (error) {
  console.error(error.message);
  process.exit(2);
}
