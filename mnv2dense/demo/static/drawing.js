// Results over a picture, on a canvas of any size: lines and letters keep their size, boxes and masks keep their place.

const FONT = 'Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif';

/**
 * @param {CanvasRenderingContext2D} context of a canvas in the picture's proportions.
 * @param {object} shown {bitmap, width, height, result}: the picture and what was found in it.
 * @param {object} look {task, names, colors, threshold, opacity, highlight, unit, legend}; unit is the pixels of a thin
 *   line, highlight a row's index or null.
 */
export function draw(context, shown, look) {
  const { width, height } = context.canvas;
  context.imageSmoothingQuality = "high";
  context.drawImage(shown.bitmap, 0, 0, width, height);
  if (!shown.result) return;
  if (look.task === "detection") drawBoxes(context, shown, look);
  else if (look.task === "segmentation") drawMask(context, shown, look);
  else if (look.legend) drawLegend(context, shown.result.labels.slice(0, 3), look, (label, row) => shown.result.scores[row].toFixed(2), "top");
}

// --- boxes ---------------------------------------------------------------------------------------------------

function drawBoxes(context, shown, look) {
  const scale = context.canvas.width / shown.width;
  const rows = visible(shown.result, look.threshold);
  const taken = [];
  // The best ends up on top.
  for (const row of [...rows].reverse()) {
    const [left, top, right, bottom] = shown.result.boxes[row].map((at) => at * scale);
    context.globalAlpha = look.highlight === null || look.highlight === row ? 1 : 0.25;
    context.lineJoin = "round";
    context.strokeStyle = "rgb(255 255 255 / 0.75)";
    context.lineWidth = 4 * look.unit;
    context.strokeRect(left, top, right - left, bottom - top);
    context.strokeStyle = css(look.colors[shown.result.labels[row]]);
    context.lineWidth = 2.5 * look.unit;
    context.strokeRect(left, top, right - left, bottom - top);
  }
  for (const row of rows) {
    const label = shown.result.labels[row];
    const [left, top, , bottom] = shown.result.boxes[row].map((at) => at * scale);
    context.globalAlpha = look.highlight === null || look.highlight === row ? 1 : 0.25;
    const text = `${look.names[label]} ${shown.result.scores[row].toFixed(2)}`;
    drawTag(context, text, look.colors[label], look.unit, (size) => freePlace(context.canvas, taken, size, left, top, bottom));
  }
  context.globalAlpha = 1;
}

/** Rows of a result from a score on. */
export function visible(result, threshold) {
  return result.scores.map((_, row) => row).filter((row) => result.scores[row] >= threshold);
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

function drawMask(context, shown, look) {
  const { width, height } = context.canvas;
  const overlay = new OffscreenCanvas(width, height);
  overlay.getContext("2d").putImageData(maskImage(shown, look, width, height), 0, 0);
  context.drawImage(overlay, 0, 0);
  if (!look.legend) return;
  const order = shown.result.shares.map((_, label) => label);
  order.sort((one, other) => shown.result.shares[other] - shown.result.shares[one]);
  const there = order.filter((label) => shown.result.shares[label] > 0 && look.names[label] !== "background");
  drawLegend(context, there.slice(0, 12), look, () => "", "bottom");
}

/** Colours of the classes and a white line where they meet, in the canvas's own pixels. */
function maskImage(shown, look, width, height) {
  const labels = shown.result.labels;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const paint = new Uint32Array(look.names.length);
  look.names.forEach((name, label) => {
    const [red, green, blue] = look.colors[label];
    const faded = look.highlight !== null && look.highlight !== label;
    const alpha = name === "background" ? 0 : Math.round(255 * look.opacity * (faded ? 0.2 : 1));
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

function drawLegend(context, labels, look, valueOf, edge) {
  const unit = look.unit;
  const gap = 4 * unit;
  const height = 19 * unit;
  labels.forEach((label, row) => {
    const y = edge === "top" ? gap + row * (height + gap) : context.canvas.height - (labels.length - row) * (height + gap);
    drawTag(context, `${look.names[label]} ${valueOf(label, row)}`.trim(), look.colors[label], unit, () => ({ x: gap, y }));
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
