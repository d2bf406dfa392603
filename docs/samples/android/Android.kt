package mnv2dense.sample

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.util.Base64
import android.util.Log
import kotlin.math.cos
import kotlin.math.sqrt

private const val LEAST_SCORE = 0.4f // of boxes that are shown

/** In an Activity: `imageView.setImageBitmap(annotated(Network(assets.open("detector.onnx").readBytes()), bitmap))`. */
fun annotated(network: Network, bitmap: Bitmap): Bitmap {
    val picture = pictureOf(bitmap)
    val prepared = prepare(picture, network.description)
    val found = resultsOf(network.description, network.run(prepared.planes), picture, prepared.place)
    return bitmap.copy(Bitmap.Config.ARGB_8888, true).also { draw(it, found.filter(::isShown), network.description) }
}

/** Once, when the app is tested on a new device: does it answer there as on the desk? */
fun passesExam(network: Network): Boolean {
    // Unscaled, as BitmapFactory would else fit pictures to the screen's density.
    val options = BitmapFactory.Options().apply { inScaled = false }
    val verdict = examine(
        network.description,
        decode = { png -> Base64.decode(png, Base64.DEFAULT).let { pictureOf(BitmapFactory.decodeByteArray(it, 0, it.size, options)) } },
        run = network::run,
    )
    verdict.lines.forEach { Log.i("mnv2dense", it) }
    return verdict.passed
}

/** Upright already: a photo's EXIF orientation is applied by who loads the bitmap (androidx.exifinterface). */
private fun pictureOf(bitmap: Bitmap): Picture {
    val pixels = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return Picture(bitmap.width, bitmap.height, pixels)
}

/** Files keep far more boxes, for scores of precision and recall. */
private fun isShown(found: Found) = found.box == null || found.score >= LEAST_SCORE

private fun draw(bitmap: Bitmap, results: List<Found>, description: Description) {
    val canvas = Canvas(bitmap)
    val side = sqrt(bitmap.width.toFloat() * bitmap.height)
    val pen = Paint(Paint.ANTI_ALIAS_FLAG).apply { textSize = side / 30; strokeWidth = side / 220 }
    for ((row, found) in results.withIndex().reversed()) { // the best ends up on top
        pen.color = colorOf(found.label)
        val text = "${description.classNames[found.label]} ${"%.2f".format(found.score)}"
        val (left, top, right, bottom) = (found.box ?: doubleArrayOf(0.0, (row + 1) * 1.3 * pen.textSize, 0.0, 0.0)).map { it.toFloat() }
        pen.style = Paint.Style.STROKE
        if (found.box != null) canvas.drawRect(left, top, right, bottom, pen)
        pen.style = Paint.Style.FILL
        canvas.drawText(text, left, maxOf(top - pen.strokeWidth, pen.textSize), pen)
    }
}

/** Steps of the golden ratio never come close to an earlier hue. */
private fun colorOf(label: Int): Int {
    val (red, green, blue) = List(3) { (127.5 + 127.5 * cos(2 * Math.PI * (0.618 * label + it / 3.0))).toInt() }
    return Color.rgb(red, green, blue)
}
