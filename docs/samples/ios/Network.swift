import CoreML
import CoreVideo
import Foundation

/// The outputs of one picture, by name, in the order of their tensors; labels as numbers, too.
typealias Outputs = [String: [Double]]

/// What an exported file says of itself: docs/export.md has the keys.
struct Description: Decodable {
    struct Selection: Decodable {
        let scoreThreshold, nmsThreshold: Double?  // of detectors, as the next line
        let candidates, limit: Int?
    }

    let task, outputs, resize: String
    let size: [Int]  // height, width of the input, pixels
    let classNames: [String]
    let selection: Selection
    let exam: Exam?

    var height: Int { size[0] }
    var width: Int { size[1] }
}

enum SampleError: Error {
    case foreignFile  // not written by tools/export.py
    case noExam  // export the file again
    case noNumbers  // export the file without nms and labels
    case noBuffer  // Core Video has no memory for an input
    case otherTask(String)  // this sample takes detectors and classifiers
}

/// An .mlpackage, which Xcode compiles into the app: `try Network(Bundle.main.url(forResource: "detector", withExtension: "mlmodelc")!)`.
final class Network {
    let description: Description
    private let model: MLModel

    init(_ url: URL) throws {
        model = try MLModel(contentsOf: url)
        let said = model.modelDescription.metadata[.creatorDefinedKey] as? [String: String]
        guard let json = said?["mnv2dense"] else { throw SampleError.foreignFile }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        description = try decoder.decode(Description.self, from: Data(json.utf8))
    }

    /// - Parameter planes: uint8 [3, H, W] of one picture, as `prepare` makes them.
    func run(_ planes: [UInt8]) throws -> Outputs {
        let input = try MLDictionaryFeatureProvider(dictionary: ["image": buffer(planes)])
        let found = try model.prediction(from: input)
        var outputs = Outputs()
        for name in found.featureNames {
            guard let array = found.featureValue(for: name)?.multiArrayValue else { continue }
            outputs[name] = (0..<array.count).map { array[$0].doubleValue }
        }
        return outputs
    }

    /// Core ML takes an image of the input's size, whose bytes are blue, green, red and one that it does not look at.
    private func buffer(_ planes: [UInt8]) throws -> CVPixelBuffer {
        let (width, height) = (description.width, description.height)
        var made: CVPixelBuffer?
        CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, nil, &made)
        guard let buffer = made else { throw SampleError.noBuffer }
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        let bytes = CVPixelBufferGetBaseAddress(buffer)!.assumingMemoryBound(to: UInt8.self)
        let stride = CVPixelBufferGetBytesPerRow(buffer)
        for y in 0..<height {
            for x in 0..<width {
                for channel in 0..<3 {
                    bytes[y * stride + 4 * x + 2 - channel] = planes[(channel * height + y) * width + x]
                }
                bytes[y * stride + 4 * x + 3] = 255
            }
        }
        return buffer
    }
}
