package mnv2dense.sample

import org.json.JSONArray
import org.json.JSONObject

/** What an exported file says of itself: docs/export.md has the keys. */
class Description(json: String) {
    private val said = JSONObject(json)
    private val selection: JSONObject = said.getJSONObject("selection")

    val task: String = said.getString("task")
    val outputs: String = said.getString("outputs")
    val resize: String = said.getString("resize")
    val height: Int = said.getJSONArray("size").getInt(0)
    val width: Int = said.getJSONArray("size").getInt(1)
    val classNames: List<String> = said.getJSONArray("class_names").let { names -> List(names.length(), names::getString) }

    // Of a detector.
    val scoreThreshold: Float get() = selection.getDouble("score_threshold").toFloat()
    val nmsThreshold: Double get() = selection.getDouble("nms_threshold")
    val candidates: Int get() = selection.getInt("candidates")
    val limit: Int get() = selection.getInt("limit")

    val exam: JSONObject? = said.optJSONObject("exam")
}

fun JSONArray.doubles() = DoubleArray(length(), ::getDouble)
