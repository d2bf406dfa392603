package mnv2dense.sample

import kotlin.math.max
import kotlin.math.min

/** @property box left, top, right, bottom in pixels of the picture; none of a classifier. */
class Found(val label: Int, val score: Float, val box: DoubleArray?)

/** Boxes of a detector, best first; of a classifier the best three classes. */
fun resultsOf(description: Description, outputs: Outputs, picture: Picture, place: Place): List<Found> {
    val scores = outputs.getValue("scores")
    if (description.task == "classification") {
        return scores.indices.sortedByDescending { scores[it] }.take(3).map { Found(it, scores[it], null) }
    }
    require(description.task == "detection") { "this sample takes detectors and classifiers, not ${description.task}" }
    val boxes = outputs.getValue("boxes")
    val found = if (description.outputs == "boxes") selected(description, boxes, scores) else listed(outputs, boxes, scores)
    return found.map { Found(it.label, it.score, original(it.box!!, picture, place)) }
}

/** Rows that the file selected itself; those of label -1 only fill the shape. */
private fun listed(outputs: Outputs, boxes: FloatArray, scores: FloatArray): List<Found> {
    val labels = outputs.getValue("labels")
    return labels.indices.filter { labels[it] >= 0 }.map { Found(labels[it].toInt(), scores[it], boxAt(boxes, it)) }
}

/** Threshold and suppression, of boxes [A, 4] and scores [A, K]. */
private fun selected(by: Description, boxes: FloatArray, scores: FloatArray): List<Found> {
    val classes = by.classNames.size
    val pairs = scores.indices.filter { scores[it] >= by.scoreThreshold }.sortedByDescending { scores[it] }
    val kept = mutableListOf<Found>()
    for (pair in pairs.take(by.candidates)) {
        if (kept.size == by.limit) break
        val next = Found(pair % classes, scores[pair], boxAt(boxes, pair / classes))
        if (kept.none { it.label == next.label && iou(it.box!!, next.box!!) > by.nmsThreshold }) kept += next
    }
    return kept
}

private fun boxAt(boxes: FloatArray, row: Int) = DoubleArray(4) { boxes[4 * row + it].toDouble() }

private fun iou(one: DoubleArray, other: DoubleArray): Double {
    val width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    val height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    fun area(box: DoubleArray) = (box[2] - box[0]) * (box[3] - box[1])
    return width * height / (area(one) + area(other) - width * height)
}

private fun original(box: DoubleArray, picture: Picture, place: Place) = DoubleArray(4) { side ->
    if (side % 2 == 0) {
        ((box[side] - place.offsetX) / place.scaleX).coerceIn(0.0, picture.width.toDouble())
    } else {
        ((box[side] - place.offsetY) / place.scaleY).coerceIn(0.0, picture.height.toDouble())
    }
}
