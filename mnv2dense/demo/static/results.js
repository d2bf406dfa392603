// Results as words, rows and json.

import { css, visible } from "./drawing.js";

const MOST_CLASSES = 5;

/**
 * Rows {label, value: 0..1, text, highlight} for the list beside the picture, best first.
 * @param {object} view {task, class_names, result, least}: what a head found, and the lowest score that it keeps of each class.
 * @param {number | "auto"} threshold
 */
export function rowsOf(view, threshold) {
  const { task, class_names: names, result } = view;
  if (task === "detection") {
    return visible(view, threshold).map((row) => ({
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

/** One sentence of what a head found. */
function summaryOf({ task, class_names: names }, rows) {
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

/** Write the headline, a sentence of each view, after the name of its head where there are several; as one text, too. */
export function fillSummary(headline, groups) {
  const lines = groups.map(({ view, rows }) => ({ lead: view.name && `${view.name}: `, sentence: summaryOf(view, rows) }));
  if (lines.length === 0) lines.push({ lead: "", sentence: "All that was found is switched off" });
  headline.replaceChildren(
    ...lines.map(({ lead, sentence }) => {
      if (!lead) return document.createTextNode(sentence);
      const line = piece("span", "line", sentence);
      line.prepend(piece("span", "of", lead));
      return line;
    }),
  );
  return lines.map(({ lead, sentence }) => lead + sentence).join(". ");
}

/**
 * Fill the list with the rows of each view, under the name of its head where there are several.
 * @param {{view: object, rows: object[]}[]} groups
 * @param {(view: object, highlight: number | null) => void} report is called as the pointer passes over rows.
 */
export function fillRows(list, groups, report) {
  list.replaceChildren(
    ...groups.flatMap(({ view, rows }) => {
      const items = rows.map((row) => itemOf(view, row, report));
      return view.name && rows.length > 0 ? [piece("li", "part", view.name), ...items] : items;
    }),
  );
}

/** With a swatch of the colour that its boxes or its mask have. */
function itemOf(view, row, report) {
  const item = piece("li", "row", "");
  if (view.task !== "classification") {
    const swatch = piece("span", "swatch", "");
    swatch.style.background = css(view.colors[row.label]);
    item.append(swatch);
  }
  const bar = piece("span", "bar", "");
  bar.style.width = `${100 * row.value}%`;
  item.append(piece("span", "name", view.class_names[row.label]), piece("span", "value", row.text), bar);
  item.addEventListener("pointerenter", () => report(view, row.highlight));
  item.addEventListener("pointerleave", () => report(view, null));
  return item;
}

function piece(tag, name, text) {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

/** What "Save JSON" writes of these views. */
export function jsonOf(about, shown, views, backend, threshold) {
  const { task, precision } = about.description;
  return {
    model: about.title,
    precision,
    task,
    picture: { name: shown.name, width: shown.width, height: shown.height },
    runs_on: backend,
    milliseconds: { model: rounded(shown.milliseconds.model), whole: rounded(shown.milliseconds.whole) },
    ...(task === "joint"
      ? { parts: Object.fromEntries(views.map((view) => [view.name, { task: view.task, ...findsOf(view, threshold) }])) }
      : findsOf(views[0], threshold)),
  };
}

function findsOf(view, threshold) {
  const { task, class_names: names, result } = view;
  if (task === "detection") {
    const detections = visible(view, threshold).map((row) => ({
      label: result.labels[row], name: names[result.labels[row]], score: result.scores[row], box: result.boxes[row],
    }));
    return { threshold, detections };
  }
  if (task === "segmentation") {
    return { classes: rowsOf(view).map(({ label, value }) => ({ label, name: names[label], share: value })) };
  }
  return { classes: result.labels.map((label, row) => ({ label, name: names[label], score: result.scores[row] })) };
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
