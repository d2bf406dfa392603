// How far answers to an exam are apart. Answers: of each picture values by output, and under "results" what came of them.

/** Of each output that has a limit, how far our answers are from Python's. */
export function distances(task, exam, ours, limits = exam.limits, theirs = rightOf(exam)) {
  const right = rightOf(exam);
  const apart = Object.keys(limits).map((name) => {
    if (name !== "results") return [name, numberDistance(name, ours, theirs, right)];
    return [name, task === "detection" ? boxDistance(ours, theirs, exam.score_threshold) : labelDistance(ours, theirs)];
  });
  return Object.fromEntries(apart);
}

/** The fault with which the model would have answered so; undefined where none fits. */
export function nearestFault(task, exam, ours) {
  // Of all outputs, each by its limit: what comes out coarsely tells little.
  const combined = (theirs) => {
    const apart = Object.entries(distances(task, exam, ours, exam.limits, theirs));
    return Math.hypot(...apart.map(([name, each]) => each / Math.max(exam.limits[name], 1e-6)));
  };
  const faults = Object.keys(exam.pictures[0].otherwise).map((fault) => ({
    fault,
    apart: combined(exam.pictures.map(({ otherwise }) => otherwise[fault])),
  }));
  const [nearest] = faults.sort((one, other) => one.apart - other.apart);
  return nearest?.apart < combined(rightOf(exam)) / 2 ? nearest.fault : undefined;
}

function rightOf(exam) {
  return exam.pictures.map(({ answers, results }) => ({ ...answers, results }));
}

function sumOf(values) {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Root of the summed squares of differences, as a share of how the right answers lie about their mean. */
function numberDistance(name, ours, theirs, right) {
  const [one, other, answers] = [ours, theirs, right].map((each) => each.flatMap((picture) => picture[name]));
  const mean = sumOf(answers) / answers.length;
  const apart = sumOf(one.map((value, place) => (value - other[place]) ** 2));
  const spread = sumOf(answers.map((value) => (value - mean) ** 2));
  return Math.sqrt(apart / (spread || 1));
}

/** Boxes are paired with the one of their class that they overlap most; each counts by its score above the threshold. */
function boxDistance(ours, theirs, threshold) {
  let apart = 0;
  let whole = 0;
  const weight = (box) => box.score - threshold;
  const counted = ({ results }) => results.filter((box) => weight(box) > 0).sort((one, other) => other.score - one.score);
  ours.forEach((picture, number) => {
    const found = counted(picture);
    const left = counted(theirs[number]);
    whole += sumOf([...found, ...left].map(weight));
    for (const box of found) {
      const overlaps = left.map((other) => (other.label === box.label ? iou(box.box, other.box) : 0));
      const overlap = Math.max(0, ...overlaps);
      if (overlap < 0.5) {
        apart += weight(box);
        continue;
      }
      const [other] = left.splice(overlaps.indexOf(overlap), 1);
      apart += Math.abs(box.score - other.score) + (1 - overlap) * Math.min(weight(box), weight(other));
    }
    apart += sumOf(left.map(weight));
  });
  return whole > 0 ? apart / whole : 0;
}

function iou(one, other) {
  const width = Math.max(0, Math.min(one[2], other[2]) - Math.max(one[0], other[0]));
  const height = Math.max(0, Math.min(one[3], other[3]) - Math.max(one[1], other[1]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(one) + area(other) - width * height);
}

/** The share of classes that differ: of pixels on the grid, or of the best three of the picture. */
function labelDistance(ours, theirs) {
  const labels = ({ results }) => results.grid?.flat() ?? results.map(({ label }) => label);
  const pairs = theirs.flatMap((picture, number) => labels(picture).map((label, place) => [label, labels(ours[number])[place]]));
  return pairs.filter(([one, other]) => one !== other).length / pairs.length;
}
