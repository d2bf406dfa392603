// The heads of a model, each described as if it stood alone: a model has one of them, or several on one backbone.

/**
 * @param {object} about what model.json says.
 * @returns {object[]} descriptions, see mnv2dense/runtimes/metadata.py, with {name, colors, least}; the name of an only head is "".
 */
export function partsOf({ description, colors }) {
  if (description.task !== "joint") {
    return [{ ...description, name: "", colors, least: leastOf(description.thresholds, description.class_names) }];
  }
  return Object.entries(description.parts).map(([name, outputs]) => {
    const prefix = `${name}/`;
    const labels = description.class_names.map((_, label) => label).filter((label) => description.class_names[label].startsWith(prefix));
    const { task, ...selection } = description.selection.parts[name];
    const names = labels.map((label) => description.class_names[label].slice(prefix.length));
    return {
      ...description,
      name,
      task,
      outputs,
      selection,
      class_names: names,
      colors: labels.map((label) => colors[label]),
      least: leastOf(description.thresholds?.[name], names),
    };
  });
}

/** The model's own lowest score of each class, or null where it keeps none; see mnv2dense/types/thresholds.py. */
function leastOf(kept, names) {
  return kept?.classes ? names.map((name) => (Object.hasOwn(kept.classes, name) ? kept.classes[name] : kept.overall)) : null;
}

/** Those of the file's outputs that are a head's, called as in a file of that head alone: boxes, and not cars_boxes. */
export function outputsOf(part, outputs) {
  const prefix = part.name && `${part.name}_`;
  const own = Object.keys(outputs).filter((name) => name.startsWith(prefix));
  return Object.fromEntries(own.map((name) => [name.slice(prefix.length), outputs[name]]));
}
