import sharp from "sharp";

/** @returns {Promise<Buffer>} a PNG file: the picture with its results drawn into it. */
export async function drawn(picture, description, results) {
  const raw = { width: picture.width, height: picture.height, channels: 4 };
  const layers = [{ input: Buffer.from(annotationsOf(picture, description, results)) }];
  if (description.task === "segmentation") {
    layers.unshift({ input: overlayOf(description, results.labels), raw });
  }
  return sharp(picture.rgba, { raw }).composite(layers).png().toBuffer();
}

/** Classes in their colours, half transparent; the background stays clear. */
function overlayOf(description, labels) {
  const overlay = new Uint8Array(4 * labels.length);
  const paint = description.class_names.map((name, label) => [...colorOf(description, label), name === "background" ? 0 : 128]);
  labels.forEach((label, pixel) => overlay.set(paint[label], 4 * pixel));
  return overlay;
}

/** Boxes, and tags with the names, as SVG. */
function annotationsOf({ width, height }, description, { boxes, scores, labels, shares }) {
  const side = Math.sqrt(width * height);
  const letters = Math.max(9, side / 32);
  const names = description.class_names;
  const parts = [];
  const tag = (label, text, x, y) => {
    const [red, green, blue] = colorOf(description, label);
    const ink = 0.3 * red + 0.6 * green + 0.1 * blue > 127 ? "black" : "white";
    const wide = 0.6 * letters * (text.length + 1);
    const left = Math.max(0, Math.min(x, width - wide));
    const top = Math.max(0, y);
    parts.push(
      `<rect x="${left}" y="${top}" width="${wide}" height="${1.3 * letters}" fill="rgb(${red},${green},${blue})"/>`,
      `<text x="${left + 0.3 * letters}" y="${top + letters}" fill="${ink}">${escaped(text)}</text>`,
    );
  };
  if (description.task === "detection") {
    for (let row = boxes.length - 1; row >= 0; row--) {
      const [left, top, right, bottom] = boxes[row]; // the best ends up on top
      parts.push(
        `<rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}" fill="none"
          stroke="rgb(${colorOf(description, labels[row])})" stroke-width="${side / 220}"/>`,
      );
      tag(labels[row], `${names[labels[row]]} ${scores[row].toFixed(2)}`, left, top - 1.3 * letters);
    }
  } else {
    const listed = shares
      ? names.map((name, label) => [label, name]).filter(([label, name]) => shares[label] > 0 && name !== "background")
      : labels.slice(0, 3).map((label, row) => [label, `${names[label]} ${scores[row].toFixed(2)}`]);
    listed.forEach(([label, text], row) => tag(label, text, 0, row * 1.3 * letters));
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"
    font-family="monospace" font-size="${letters}">${parts.join("")}</svg>`;
}

/** The data set's own, else steps of the golden ratio, which never come close to an earlier hue. */
function colorOf({ selection }, label) {
  const hue = (channel) => Math.round(127.5 + 127.5 * Math.cos(2 * Math.PI * (0.618 * label + channel / 3)));
  return selection.palette?.[label] ?? [0, 1, 2].map(hue);
}

function escaped(text) {
  return text.replace(/[&<]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
