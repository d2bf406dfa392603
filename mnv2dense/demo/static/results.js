// Results as words, rows and json.

import { css, visible } from "./drawing.js";

const MOST_CLASSES = 5;

/** Rows {label, value: 0..1, text, highlight} for the list beside the picture, best first. */
export function rowsOf(task, result, names, threshold) {
  if (task === "detection") {
    return visible(result, threshold).map((row) => ({
      label: result.labels[row], value: result.scores[row], text: result.scores[row].toFixed(2), highlight: row,
    }));
  }
  if (task === "segmentation") {
    const there = names.map((_, label) => label).filter((label) => result.shares[label] > 0);
    there.sort((one, other) => result.shares[other] - result.shares[one]);
    return there.map((label) => ({
      label, value: result.shares[label], text: `${percent(result.shares[label])} of the picture`, highlight: label,
    }));
  }
  return result.labels.slice(0, MOST_CLASSES).map((label, row) => ({
    label, value: result.scores[row], text: percent(result.scores[row]), highlight: null,
  }));
}

/** One sentence: what a screen reader says, and the headline. */
export function summaryOf(task, rows, names) {
  if (task === "detection") {
    if (rows.length === 0) return "Nothing found at this score";
    const counts = new Map();
    for (const { label } of rows) counts.set(label, (counts.get(label) ?? 0) + 1);
    const order = [...counts].sort((one, other) => other[1] - one[1]);
    const parts = order.slice(0, 5).map(([label, count]) => (count > 1 ? `${names[label]} × ${count}` : names[label]));
    if (order.length > 5) parts.push("others");
    const total = rows.length === 1 ? "1 object" : `${rows.length} objects`;
    return `${total}: ${parts.join(", ")}`;
  }
  if (task === "segmentation") {
    const shown = rows.filter(({ label }) => names[label] !== "background");
    if (shown.length === 0) return "Background alone";
    return capital(listed(shown.slice(0, 3).map(({ label, text }) => `${names[label]} ${text}`)));
  }
  return capital(`${names[rows[0].label]}, ${rows[0].text}`);
}

/** Fill the list, with swatches if there are colors; report(highlight or null) is called as the pointer passes over rows. */
export function fillRows(list, rows, names, colors, report) {
  list.replaceChildren(
    ...rows.map((row) => {
      const item = document.createElement("li");
      item.className = "row";
      if (colors) {
        const swatch = piece("swatch", "");
        swatch.style.background = css(colors[row.label]);
        item.append(swatch);
      }
      const bar = piece("bar", "");
      bar.style.width = `${100 * row.value}%`;
      item.append(piece("name", names[row.label]), piece("value", row.text), bar);
      item.addEventListener("pointerenter", () => report(row.highlight));
      item.addEventListener("pointerleave", () => report(null));
      return item;
    }),
  );
}

function piece(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

/** What "Save JSON" writes. */
export function jsonOf(about, shown, backend, threshold) {
  const { task, class_names: names } = about.description;
  const { result } = shown;
  const found = {
    model: about.title,
    precision: about.description.precision,
    task,
    picture: { name: shown.name, width: shown.width, height: shown.height },
    runs_on: backend,
    milliseconds: { model: rounded(shown.milliseconds.model), whole: rounded(shown.milliseconds.whole) },
  };
  if (task === "detection") {
    found.threshold = threshold;
    found.detections = visible(result, threshold).map((row) => ({
      label: result.labels[row], name: names[result.labels[row]], score: result.scores[row], box: result.boxes[row],
    }));
  } else if (task === "segmentation") {
    const there = rowsOf(task, result, names);
    found.classes = there.map(({ label, value }) => ({ label, name: names[label], share: value }));
  } else {
    found.classes = result.labels.map((label, row) => ({ label, name: names[label], score: result.scores[row] }));
  }
  return found;
}

export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

export function duration(milliseconds) {
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function rounded(value) {
  return Math.round(value * 100) / 100;
}

function listed(parts) {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
