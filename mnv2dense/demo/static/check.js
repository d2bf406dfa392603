// Whether the model answers on this device as it did in Python when its file was made: asked once, and said in a line.

import { detailsOf, sentencesOf } from "./exam.js";

/**
 * @param {object} about what model.json says.
 * @param {string} where which file this is, and what it runs on.
 * @param {(number: number) => Promise<object | null>} examine takes a picture of the exam; gives the verdict after the last.
 * @param {HTMLElement} line where to say it; its data-state is "equal", "differs" or "failed" from then on.
 */
export async function check(about, where, examine, line) {
  const { exam } = about.description;
  if (!exam?.pictures) return;
  const key = `mnv2dense exam ${about.runtime} ${where}`;
  if (remembered(key)) return say(line, "equal", sentencesOf({ equal: true }));
  try {
    let report = null;
    for (const number of exam.pictures.keys()) report = await examine(number);
    line.title = detailsOf(report);
    say(line, report.equal ? "equal" : "differs", sentencesOf(report, about.causes));
    if (report.equal) remember(key);
  } catch (error) {
    say(line, "failed", [`Whether the model answers here as in Python could not be checked: ${error.message}.`]);
  }
}

function say(line, state, sentences) {
  const pieces = sentences.map((text) => Object.assign(document.createElement("span"), { textContent: text }));
  line.replaceChildren(...pieces);
  line.dataset.state = state;
  line.hidden = false;
}

// A browser may forbid to remember anything; then it is asked at each start.
function remembered(key) {
  try {
    return localStorage.getItem(key) !== null;
  } catch {
    return false;
  }
}

function remember(key) {
  try {
    localStorage.setItem(key, "equal");
  } catch {
    // nothing is lost
  }
}
