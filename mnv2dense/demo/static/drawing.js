// Results over a picture, on a canvas of any size: lines and letters keep their size, boxes and masks keep their place.

const FONT = 'Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif';

// More names of masks' classes would hide the picture.
const MOST_NAMES = 12;

/**
 * @param {CanvasRenderingContext2D} context of a canvas in the picture's proportions.
 * @param {object} shown {bitmap, width, height}: the picture.
 * @param {object[]} views {name, task, class_names, colors, result, highlight}: what each head found in it; highlight is a row's
 *   index, or null where all are drawn alike.
 * @param {object} look {threshold, opacity, unit, legend}; threshold is a score or "auto", unit is the pixels of a thin line.
 */
export function draw(context, shown, views, look) {
  const { width, height } = context.canvas;
  context.imageSmoothingQuality = "high";
  context.drawImage(shown.bitmap, 0, 0, width, height);
  const of = (task) => views.filter((view) => view.task === task);
  const taken = []; // by tags
  // Boxes and tags stay visible on masks.
  for (const view of of("segmentation")) drawMask(context, shown, view, look.opacity);
  if (look.legend) {
    const masks = of("segmentation");
    const names = masks.flatMap((view) => namesOf(view, masks.length > 1).slice(0, Math.floor(MOST_NAMES / masks.length)));
    drawLegend(context, names, look.unit, "bottom", taken);
    drawLegend(context, of("classification").flatMap(likeliest), look.unit, "top", taken);
  }
  for (const view of of("detection")) drawBoxes(context, shown, view, look, taken);
}

// --- boxes ---------------------------------------------------------------------------------------------------

/** Taken are the places of the tags so far; others are added. */
function drawBoxes(context, shown, view, look, taken) {
  const { class_names: names, colors, result, highlight } = view;
  const scale = context.canvas.width / shown.width;
  const rows = visible(view, look.threshold);
  // The best ends up on top.
  for (const row of [...rows].reverse()) {
    const [left, top, right, bottom] = result.boxes[row].map((at) => at * scale);
    context.globalAlpha = highlight === null || highlight === row ? 1 : 0.25;
    context.lineJoin = "round";
    context.strokeStyle = "rgb(255 255 255 / 0.75)";
    context.lineWidth = 4 * look.unit;
    context.strokeRect(left, top, right - left, bottom - top);
    context.strokeStyle = css(colors[result.labels[row]]);
    context.lineWidth = 2.5 * look.unit;
    context.strokeRect(left, top, right - left, bottom - top);
  }
  for (const row of rows) {
    const label = result.labels[row];
    const [left, top, , bottom] = result.boxes[row].map((at) => at * scale);
    context.globalAlpha = highlight === null || highlight === row ? 1 : 0.25;
    const text = `${names[label]} ${result.scores[row].toFixed(2)}`;
    drawTag(context, text, colors[label], look.unit, (size) => freePlace(context.canvas, taken, size, left, top, bottom));
  }
  context.globalAlpha = 1;
}

/** Rows of what a head found from a score on, or with "auto" from the one that it keeps for their class; scores are float32. */
export function visible({ result, least }, threshold) {
  const reaches = (row) => result.scores[row] >= Math.fround(threshold === "auto" ? least[result.labels[row]] : threshold);
  return result.scores.map((_, row) => row).filter(reaches);
}

/** Above the box, inside it or below it, where no other tag is; above in the end. */
function freePlace(canvas, taken, size, left, top, bottom) {
  const x = Math.max(0, Math.min(left, canvas.width - size.width));
  const tries = [top - size.height, top, bottom - size.height, bottom].map((y) => Math.max(0, Math.min(y, canvas.height - size.height)));
  const free = (y) =>
    taken.every((other) => x >= other.x + other.width || other.x >= x + size.width || y >= other.y + other.height || other.y >= y + size.height);
  const y = tries.find(free) ?? tries[0];
  taken.push({ x, y, ...size });
  return { x, y };
}

function drawTag(context, text, color, unit, placeOf) {
  context.font = `560 ${12.5 * unit}px ${FONT}`;
  const size = { width: context.measureText(text).width + 10 * unit, height: 19 * unit };
  const { x, y } = placeOf(size);
  context.fillStyle = css(color);
  context.beginPath();
  context.roundRect(x, y, size.width, size.height, 3 * unit);
  context.fill();
  context.fillStyle = inkOn(color);
  context.textBaseline = "middle";
  context.fillText(text, x + 5 * unit, y + size.height / 2 + 0.5 * unit);
  return size;
}

// --- masks ---------------------------------------------------------------------------------------------------

function drawMask(context, shown, view, opacity) {
  const { width, height } = context.canvas;
  const overlay = new OffscreenCanvas(width, height);
  overlay.getContext("2d").putImageData(maskImage(shown, view, opacity, width, height), 0, 0);
  context.drawImage(overlay, 0, 0);
}

/** Colours of the classes and a white line where they meet, in the canvas's own pixels. */
function maskImage(shown, { class_names: names, colors, result, highlight }, opacity, width, height) {
  const labels = result.labels;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const paint = new Uint32Array(names.length);
  names.forEach((name, label) => {
    const [red, green, blue] = colors[label];
    const faded = highlight !== null && highlight !== label;
    const alpha = name === "background" ? 0 : Math.round(255 * opacity * (faded ? 0.2 : 1));
    paint[label] = (alpha << 24) | (blue << 16) | (green << 8) | red;
  });
  const columns = Int32Array.from({ length: width }, (_, x) => Math.floor(((x + 0.5) * shown.width) / width));
  let above = null;
  for (let y = 0, to = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * shown.height) / height) * shown.width;
    for (let x = 0; x < width; x++, to++) {
      const label = labels[row + columns[x]];
      const edge = (x > 0 && label !== labels[row + columns[x - 1]]) || (above !== null && label !== labels[above + columns[x]]);
      pixels[to] = edge ? 0xe6ffffff : paint[label];
    }
    above = row;
  }
  return image;
}

// --- names in a corner ---------------------------------------------------------------------------------------

/** Of the classes of a mask that are there, largest first. */
function namesOf({ name: head, class_names: names, colors, result }, withHead) {
  const order = result.shares.map((_, label) => label);
  order.sort((one, other) => result.shares[other] - result.shares[one]);
  const there = order.filter((label) => result.shares[label] > 0 && names[label] !== "background");
  return there.map((label) => ({ text: withHead ? `${head}/${names[label]}` : names[label], color: colors[label] }));
}

/** The three likeliest classes of a picture. */
function likeliest({ class_names: names, colors, result }) {
  return result.labels.slice(0, 3).map((label, row) => ({ text: `${names[label]} ${result.scores[row].toFixed(2)}`, color: colors[label] }));
}

function drawLegend(context, entries, unit, edge, taken) {
  const gap = 4 * unit;
  const height = 19 * unit;
  entries.forEach(({ text, color }, row) => {
    const y = edge === "top" ? gap + row * (height + gap) : context.canvas.height - (entries.length - row) * (height + gap);
    drawTag(context, text, color, unit, (size) => {
      taken.push({ x: gap, y, ...size });
      return { x: gap, y };
    });
  });
}

// --- colours -------------------------------------------------------------------------------------------------

export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/** Black or white, whichever has the better contrast (WCAG's relative luminance). */
function inkOn(color) {
  const linear = color.map((part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return luminance > 0.179 ? "#000" : "#fff";
}
