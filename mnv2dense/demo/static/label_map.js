// The class of every pixel from logits on a coarse grid: what mnv2dense/ops/label_map.py does, with the same numbers.

/** Pixels of a block's side, at most. */
const BLOCK = 12;

/** Of the largest logit: by how much rounding may carry an interpolated value past the ones it lies between. */
const ROUNDING = 1e-6;

// What every block needs anew.
const most = new Float64Array(256);
const best = new Float64Array(BLOCK * BLOCK);

/**
 * Bilinear upsampling and argmax in one. Within a block of pixels between the same four cells every class lies between
 * its values at the block's corners: a class that stays below another's lowest corner wins nowhere in it. Most blocks
 * are left with one class, and the pixels of the others are decided among those that are left.
 *
 * @param {Float32Array} logits [K, h, w].
 * @param {number[]} size [K, h, w].
 * @param {{low, high, share}} down where each row of pixels reads, see places().
 * @param {{low, high, share}} across where each column does.
 * @returns {Uint8Array} [H, W].
 */
export function labelMap(logits, [classes, rows, columns], down, across) {
  const width = across.low.length;
  const labels = new Uint8Array(width * down.low.length);
  const largest = logits.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const grid = { logits, plane: rows * columns, slack: largest * ROUNDING, down, across };
  const rivals = new Int32Array(classes); // the classes that can win in a block; the first `count` of it
  const runs = runsOf(across.low);
  for (const [top, bottom] of runsOf(down.low)) {
    for (const [left, right] of runs) {
      const upper = down.low[top] * columns;
      const lower = down.high[top] * columns;
      const cells = [
        upper + across.low[left],
        upper + across.high[left],
        lower + across.low[left],
        lower + across.high[left],
      ];
      const block = { cells, top, bottom, left, right };
      for (let label = 0; label < classes; label++) rivals[label] = label;
      // By the cells first, which takes no arithmetic; by the block's own corners where that leaves several.
      let count = bounded(grid, block, rivals, classes, false);
      if (count > 1) count = bounded(grid, block, rivals, count, true);
      for (let y = top; y <= bottom; y++) labels.fill(rivals[0], y * width + left, y * width + right + 1);
      if (count > 1) contested(grid, block, rivals.subarray(0, count), labels);
    }
  }
  return labels;
}

/** Keeps those of the first `count` rivals that can win somewhere in the block, and tells how many these are. */
function bounded({ logits, plane, slack, down, across }, { cells, top, bottom, left, right }, rivals, count, corners) {
  const [cellA, cellB, cellC, cellD] = cells;
  let floor = -Infinity;
  for (let index = 0; index < count; index++) {
    const from = rivals[index] * plane;
    let a = logits[from + cellA];
    let b = logits[from + cellB];
    let c = logits[from + cellC];
    let d = logits[from + cellD];
    if (corners) {
      [a, b, c, d] = [
        valueAt(a, b, c, d, across.share[left], down.share[top]),
        valueAt(a, b, c, d, across.share[right], down.share[top]),
        valueAt(a, b, c, d, across.share[left], down.share[bottom]),
        valueAt(a, b, c, d, across.share[right], down.share[bottom]),
      ];
    }
    most[index] = Math.max(a, b, c, d);
    floor = Math.max(floor, Math.min(a, b, c, d) - slack);
  }
  let kept = 0;
  for (let index = 0; index < count; index++) if (!(most[index] < floor)) rivals[kept++] = rivals[index];
  return kept;
}

/** Decides a block pixel by pixel; of equal classes the first wins. */
function contested({ logits, plane, down, across }, { cells, top, bottom, left, right }, rivals, labels) {
  const width = across.low.length;
  best.fill(-Infinity);
  for (const label of rivals) {
    const [a, b, c, d] = cells.map((cell) => logits[label * plane + cell]);
    for (let y = top, place = 0; y <= bottom; y++) {
      for (let x = left; x <= right; x++, place++) {
        const value = valueAt(a, b, c, d, across.share[x], down.share[y]);
        if (value > best[place]) {
          best[place] = value;
          labels[y * width + x] = label;
        }
      }
    }
  }
}

/** Between cells a and b above, c and d below. */
function valueAt(a, b, c, d, shareX, shareY) {
  return Math.fround(lerp(Math.fround(lerp(a, b, shareX)), Math.fround(lerp(c, d, shareX)), shareY));
}

/** [first, last] of the runs of pixels that lie between the same two cells, none longer than a block. */
function runsOf(low) {
  const runs = [];
  for (let first = 0, next = 1; next <= low.length; next++) {
    if (next < low.length && low[next] === low[first] && next - first < BLOCK) continue;
    runs.push([first, next - 1]);
    first = next;
  }
  return runs;
}

/** Where the pixels of one side read the logits: between cells low and high. */
export function places(pixels, scale, offset, inputPixels, cells, alignCorners) {
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
