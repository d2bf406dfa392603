// From a picture's pixels to the model's input, and the way back: what mnv2dense/ops/resize.py does, to the same bits.

const CROP_FRACTION = 0.875;
const PAD_VALUE = 127;

/** Python's round(): halves go to the even number. */
function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Rows and columns of the picture that are seen; all of them unless it is cropped. Size is [height, width]. */
function windowOf(height, width, size, mode) {
  if (mode !== "crop") return { top: 0, left: 0, rows: height, columns: width };
  const scale = Math.max(size[0] / height, size[1] / width) / CROP_FRACTION;
  const rows = Math.max(1, roundHalfEven(size[0] / scale));
  const columns = Math.max(1, roundHalfEven(size[1] / scale));
  return { top: Math.floor((height - rows) / 2), left: Math.floor((width - columns) / 2), rows, columns };
}

/** Rows and columns that what is seen takes in the input. */
function innerSizeOf(height, width, size, mode) {
  if (mode !== "letterbox") return size;
  const scale = Math.min(size[0] / height, size[1] / width);
  const side = (pixels, limit) => Math.min(limit, Math.max(1, roundHalfEven(pixels * scale)));
  return [side(height, size[0]), side(width, size[1])];
}

/** Where a picture lies in the input: input_xy = original_xy * scale + offset, of the edges of pixels. */
export function fit(height, width, size, mode) {
  const inner = innerSizeOf(height, width, size, mode);
  let scaleX = inner[1] / width;
  let scaleY = inner[0] / height;
  let offsetX = Math.floor((size[1] - inner[1]) / 2);
  let offsetY = Math.floor((size[0] - inner[0]) / 2);
  if (mode === "crop") {
    const seen = windowOf(height, width, size, mode);
    scaleX = size[1] / seen.columns;
    scaleY = size[0] / seen.rows;
    offsetX = -seen.left * scaleX;
    offsetY = -seen.top * scaleY;
  }
  // Python carries these four as float32.
  return { scaleX: Math.fround(scaleX), scaleY: Math.fround(scaleY), offsetX: Math.fround(offsetX), offsetY: Math.fround(offsetY) };
}

/**
 * The model's input.
 * @param {Uint8ClampedArray} rgba of the picture, width * height * 4.
 * @param {number[]} size [height, width] of the input.
 * @returns {Uint8Array} RGB, plane after plane: 3 * size[0] * size[1].
 */
export function resize(rgba, width, height, size, mode) {
  const seen = windowOf(height, width, size, mode);
  const [innerHeight, innerWidth] = innerSizeOf(height, width, size, mode);
  const across = resizeRows(rgba, width, seen, innerWidth);
  const inner = resizeColumns(across, innerWidth, seen.rows, innerHeight);
  const planes = new Uint8Array(3 * size[0] * size[1]);
  if (innerHeight !== size[0] || innerWidth !== size[1]) planes.fill(PAD_VALUE);
  const top = Math.floor((size[0] - innerHeight) / 2);
  const left = Math.floor((size[1] - innerWidth) / 2);
  const plane = size[0] * size[1];
  for (let y = 0, from = 0; y < innerHeight; y++) {
    let to = (top + y) * size[1] + left;
    for (let x = 0; x < innerWidth; x++, to++, from += 3) {
      planes[to] = inner[from];
      planes[to + plane] = inner[from + 1];
      planes[to + 2 * plane] = inner[from + 2];
    }
  }
  return planes;
}

/**
 * Which pixels of a side each new pixel is made of, and their shares as integers: a triangle as wide as a new pixel,
 * so that shrinking averages. This is torch's antialiased resize of uint8, which rounds shares to fit 16 bits.
 */
export function sharesOf(pixels, newPixels) {
  const scale = pixels / newPixels;
  const support = Math.max(1, scale);
  const most = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(newPixels);
  const counts = new Int32Array(newPixels);
  const exact = new Float64Array(newPixels * most);
  let largest = 0;
  for (let i = 0; i < newPixels; i++) {
    const centre = scale * (i + 0.5);
    const start = Math.max(Math.trunc(centre - support + 0.5), 0);
    const count = Math.min(Math.max(Math.min(Math.trunc(centre + support + 0.5), pixels) - start, 0), most);
    let total = 0;
    for (let j = 0; j < count; j++) {
      const share = Math.max(0, 1 - Math.abs((j + start - centre + 0.5) * (1 / support)));
      exact[i * most + j] = share;
      total += share;
    }
    for (let j = 0; j < count && total !== 0; j++) {
      exact[i * most + j] /= total;
      largest = Math.max(largest, exact[i * most + j]);
    }
    starts[i] = start;
    counts[i] = count;
  }
  let bits = 0;
  while (bits < 22 && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < 1 << 15) bits++;
  return { starts, counts, most, bits, shares: Int32Array.from(exact, (share) => Math.trunc(0.5 + share * 2 ** bits)) };
}

function resizeRows(rgba, width, seen, newWidth) {
  const made = new Uint8Array(newWidth * seen.rows * 3);
  const same = newWidth === seen.columns;
  const { starts, counts, most, bits, shares } = sharesOf(seen.columns, newWidth);
  const half = bits > 0 ? 1 << (bits - 1) : 0;
  for (let y = 0, to = 0; y < seen.rows; y++) {
    const row = ((seen.top + y) * width + seen.left) * 4;
    for (let x = 0; x < newWidth; x++, to += 3) {
      let from = row + (same ? x : starts[x]) * 4;
      if (same) {
        made[to] = rgba[from];
        made[to + 1] = rgba[from + 1];
        made[to + 2] = rgba[from + 2];
        continue;
      }
      let red = half;
      let green = half;
      let blue = half;
      for (let j = x * most, end = j + counts[x]; j < end; j++, from += 4) {
        const share = shares[j];
        red += rgba[from] * share;
        green += rgba[from + 1] * share;
        blue += rgba[from + 2] * share;
      }
      made[to] = clamp(red >> bits);
      made[to + 1] = clamp(green >> bits);
      made[to + 2] = clamp(blue >> bits);
    }
  }
  return made;
}

function resizeColumns(rgb, width, height, newHeight) {
  if (newHeight === height) return rgb;
  const made = new Uint8Array(width * newHeight * 3);
  const { starts, counts, most, bits, shares } = sharesOf(height, newHeight);
  const half = 1 << (bits - 1);
  const row = width * 3;
  const sums = new Int32Array(row);
  for (let y = 0; y < newHeight; y++) {
    sums.fill(half);
    for (let j = 0; j < counts[y]; j++) {
      const share = shares[y * most + j];
      const from = (starts[y] + j) * row;
      for (let x = 0; x < row; x++) sums[x] += rgb[from + x] * share;
    }
    const to = y * row;
    for (let x = 0; x < row; x++) made[to + x] = clamp(sums[x] >> bits);
  }
  return made;
}

function clamp(value) {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}
