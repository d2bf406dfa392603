package mnv2dense.sample

import java.nio.ByteBuffer
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** Pixels of an upright picture, 0xRRGGBB each, row after row. What is above 24 bits is not looked at. */
class Picture(val width: Int, val height: Int, val pixels: IntArray)

/** Where a picture lies in the input: input_xy = picture_xy * scale + offset, of the edges of pixels. */
class Place(val scaleX: Double, val scaleY: Double, val offsetX: Double, val offsetY: Double)

/** uint8 [3, H, W]: red, green, blue. */
class Prepared(val planes: ByteBuffer, val place: Place)

private const val CROP_FRACTION = 0.875
private const val GREY: Byte = 127 // around a letterboxed picture
private const val BITS = 22 // Pillow's, whose whole numbers decide where a mean lies half way

private class Window(val left: Int, val top: Int, val width: Int, val height: Int)

fun prepare(picture: Picture, to: Description): Prepared {
    val seen = seenOf(picture, to)
    val inside = insideOf(picture, to)
    val across = mixtures(seen.width, inside.width)
    val down = mixtures(seen.height, inside.height)
    val plane = to.width * to.height
    val planes = ByteArray(3 * plane) { GREY }
    val narrow = IntArray(inside.width * seen.height) // one channel, its rows resized
    for (channel in 0..2) {
        val shift = 16 - 8 * channel
        for (y in 0 until seen.height) {
            val row = (seen.top + y) * picture.width + seen.left
            for (x in 0 until inside.width) {
                narrow[y * inside.width + x] = across[x].of { picture.pixels[row + it] shr shift and 0xFF }
            }
        }
        for (y in 0 until inside.height) {
            val row = channel * plane + (inside.top + y) * to.width + inside.left
            for (x in 0 until inside.width) planes[row + x] = down[y].of { narrow[it * inside.width + x] }.toByte()
        }
    }
    val scaleX = inside.width.toDouble() / seen.width
    val scaleY = inside.height.toDouble() / seen.height
    val place = Place(scaleX, scaleY, inside.left - seen.left * scaleX, inside.top - seen.top * scaleY)
    return Prepared(ByteBuffer.allocateDirect(planes.size).put(planes).apply { rewind() }, place)
}

/** As Python rounds: halves go to the even number. */
private fun rounded(value: Double) = Math.rint(value).toInt()

/** What of the picture is seen: its middle where it is cropped. */
private fun seenOf(picture: Picture, to: Description): Window {
    if (to.resize != "crop") return Window(0, 0, picture.width, picture.height)
    val scale = max(to.width.toDouble() / picture.width, to.height.toDouble() / picture.height) / CROP_FRACTION
    val width = max(1, rounded(to.width / scale))
    val height = max(1, rounded(to.height / scale))
    return Window((picture.width - width) / 2, (picture.height - height) / 2, width, height)
}

/** Where in the input that goes: to its middle where there are bars beside it. */
private fun insideOf(picture: Picture, to: Description): Window {
    if (to.resize != "letterbox") return Window(0, 0, to.width, to.height)
    val scale = min(to.width.toDouble() / picture.width, to.height.toDouble() / picture.height)
    val width = min(to.width, max(1, rounded(picture.width * scale)))
    val height = min(to.height, max(1, rounded(picture.height * scale)))
    return Window((to.width - width) / 2, (to.height - height) / 2, width, height)
}

/** What a new pixel is made of: old pixels from [first] on, and the share of each, of 1 shl BITS. */
private class Mixture(val first: Int, val shares: IntArray) {
    inline fun of(pixel: (Int) -> Int): Int {
        var sum = 1 shl (BITS - 1) // so that cutting off is rounding
        for (i in shares.indices) sum += shares[i] * pixel(first + i)
        return min(255, sum shr BITS)
    }
}

/** Bilinear with antialiasing, as Pillow's BILINEAR: a triangle over the old pixels, at least as wide as a new one. */
private fun mixtures(count: Int, newCount: Int): List<Mixture> {
    val scale = count.toDouble() / newCount
    val reach = max(1.0, scale)
    return List(newCount) { i ->
        val centre = (i + 0.5) * scale
        val first = max(0, (centre - reach + 0.5).toInt())
        val end = min(count, (centre + reach + 0.5).toInt())
        val heights = DoubleArray(end - first) { max(0.0, 1 - abs(first + it + 0.5 - centre) / reach) }
        val total = heights.sum()
        Mixture(first, IntArray(heights.size) { (heights[it] / total * (1 shl BITS) + 0.5).toInt() })
    }
}
