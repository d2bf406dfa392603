package mnv2dense.sample

import java.nio.ByteBuffer
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.sqrt
import org.json.JSONArray
import org.json.JSONObject

private const val PARTS = 8 // of the input along each side, whose means are compared
private const val LARGEST_MEAN_ERROR = 2.0 // of 255
private const val NEARER = 0.6 // a fault is named whose answers are at least so much nearer than the right ones

/** What came of an exam: a line for people each, and whether all is right. */
class Verdict(val lines: List<String>, val passed: Boolean)

/**
 * Whether this program answers as the model did when the file was written, and the likely cause where it does not.
 *
 * @param decode the bytes of a PNG to a picture: on Android by BitmapFactory.
 * @param run the file: uint8 [3, H, W] to its outputs.
 */
fun examine(description: Description, decode: (String) -> Picture, run: (ByteBuffer) -> Outputs): Verdict {
    val exam = requireNotNull(description.exam) { "the file carries no exam; export it again" }
    val pictures = exam.getJSONArray("pictures").objects()
    val at = exam.getJSONObject("at")
    val names = at.keys().asSequence().toList()
    require(names.isNotEmpty()) { "the file selects boxes itself, and this exam is of numbers: export without nms" }
    require("labels" !in names) { "labels are no numbers, and these are compared here: export without labels" }
    var meanError = 0.0
    val found = pictures.map { asked ->
        val prepared = prepare(decode(asked.getString("png")), description)
        meanError = max(meanError, inputError(prepared.planes, description, asked.getJSONArray("input")))
        val outputs = run(prepared.planes)
        names.associateWith { name -> at.getJSONArray(name).doubles().map { outputs.getValue(name)[it.toInt()].toDouble() } }
    }

    fun kept(answers: (JSONObject) -> JSONObject): Answers =
        pictures.map { asked -> names.associateWith { answers(asked).getJSONArray(it).doubles().toList() } }

    val right = kept { it.getJSONObject("answers") }
    val compared = mutableListOf(Compared(found, right, exam.getJSONObject("limits")))
    exam.optJSONObject("own_limits")?.let { limits ->
        compared += Compared(lessRounding(found, kept { it.getJSONObject("own") }, right), right, limits)
    }
    val errors = mapOf("input" to (meanError to LARGEST_MEAN_ERROR)) + compared.last().run {
        names.associateWith { distance(it, right) to limits.getDouble(it) }
    }
    val lines = errors.map { (name, error) ->
        "%-8s %.2g from the model's, %s is allowed".format(name, error.first, error.second) +
            if (error.first <= error.second) "" else ": WRONG"
    }
    if (errors.values.all { (error, limit) -> error <= limit }) return Verdict(lines + "passed", true)
    val faults = pictures[0].getJSONObject("otherwise").keys().asSequence().associateWith { fault ->
        kept { it.getJSONObject("otherwise").getJSONObject(fault) }
    }
    // A gross fault changes what rounding does, so answers as they are tell it; a small one is told without that.
    val cause = compared.firstNotNullOfOrNull { it.nearest(faults) } ?: "none that the exam knows"
    return Verdict(lines + "likely cause: $cause" + "failed", false)
}

/** Of each picture, by output. */
private typealias Answers = List<Map<String, List<Double>>>

/** Answers without what rounding had changed when the file was written: it moves them to the same place everywhere. */
private fun lessRounding(ours: Answers, own: Answers, right: Answers): Answers =
    ours.indices.map { picture ->
        ours[picture].mapValues { (name, values) ->
            values.indices.map { values[it] - own[picture].getValue(name)[it] + right[picture].getValue(name)[it] }
        }
    }

/** Answers, those that are right, and how far apart they may be. */
private class Compared(private val ours: Answers, private val right: Answers, val limits: JSONObject) {
    /** Root of the summed squares of differences, as a share of how the right answers lie about their mean. */
    fun distance(name: String, theirs: Answers): Double {
        val (one, other, answers) = listOf(ours, theirs, right).map { all -> all.flatMap { it.getValue(name) } }
        val mean = answers.average()
        val spread = answers.sumOf { (it - mean) * (it - mean) }
        return sqrt(one.zip(other).sumOf { (a, b) -> (a - b) * (a - b) } / if (spread > 0) spread else 1.0)
    }

    /** The fault whose answers are clearly nearer than the right ones. */
    fun nearest(faults: Map<String, Answers>): String? =
        faults.mapValues { combined(it.value) }.minByOrNull { it.value }?.takeIf { it.value < NEARER * combined(right) }?.key

    /** Of all outputs, each by its limit: what comes out coarsely tells little. */
    private fun combined(theirs: Answers) =
        sqrt(ours[0].keys.map { distance(it, theirs) / max(limits.getDouble(it), 1e-6) }.sumOf { it * it })
}

/** By how much the mean of a part of the input is off at most, 0..255. */
private fun inputError(planes: ByteBuffer, description: Description, expected: JSONArray): Double {
    var worst = 0.0
    for (channel in 0..2) for (row in 0 until PARTS) for (column in 0 until PARTS) {
        val rows = row * description.height / PARTS until (row + 1) * description.height / PARTS
        val columns = column * description.width / PARTS until (column + 1) * description.width / PARTS
        var sum = 0L
        for (y in rows) for (x in columns) {
            sum += planes.get((channel * description.height + y) * description.width + x).toInt() and 0xFF
        }
        val mean = sum.toDouble() / (rows.count() * columns.count())
        worst = max(worst, abs(mean - expected.getJSONArray(channel).getJSONArray(row).getDouble(column)))
    }
    return worst
}

private fun JSONArray.objects() = List(length(), ::getJSONObject)
