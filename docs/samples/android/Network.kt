package mnv2dense.sample

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import java.nio.ByteBuffer

/** The outputs of one picture, by name; labels as floats, too. */
typealias Outputs = Map<String, FloatArray>

/**
 * An .onnx file in ONNX Runtime, on a phone (com.microsoft.onnxruntime:onnxruntime-android) or any other JVM (:onnxruntime).
 *
 * @param file its bytes: of an app `assets.open("detector.onnx").readBytes()`.
 */
class Network(file: ByteArray) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(file)

    val description = Description(
        requireNotNull(session.metadata.customMetadata["mnv2dense"]) { "the file was not written by tools/export.py" },
    )

    /** @param planes uint8 [3, H, W] of one picture. */
    fun run(planes: ByteBuffer): Outputs {
        val shape = longArrayOf(1, 3, description.height.toLong(), description.width.toLong())
        OnnxTensor.createTensor(environment, planes, shape, OnnxJavaType.UINT8).use { images ->
            session.run(mapOf("images" to images)).use { found ->
                return found.associate { (name, value) -> name to floatsOf(value as OnnxTensor) }
            }
        }
    }

    private fun floatsOf(tensor: OnnxTensor): FloatArray = when (tensor.info.type) {
        OnnxJavaType.FLOAT -> tensor.floatBuffer.let { buffer -> FloatArray(buffer.remaining()) { buffer.get() } }
        OnnxJavaType.INT64 -> tensor.longBuffer.let { buffer -> FloatArray(buffer.remaining()) { buffer.get().toFloat() } }
        else -> tensor.byteBuffer.let { buffer -> FloatArray(buffer.remaining()) { (buffer.get().toInt() and 0xFF).toFloat() } }
    }

    override fun close() = session.close()
}
