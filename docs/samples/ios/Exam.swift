import UIKit

/// What the file carries to tell whether a program answers as the model did when it was written.
struct Exam: Decodable {
    typealias Answers = [String: Values]  // of one picture, by output

    struct Values: Decodable {
        let numbers: [Double]  // at the places `at`; none of boxes that the file selects itself

        init(from decoder: Decoder) throws { numbers = (try? [Double](from: decoder)) ?? [] }
    }

    struct Asked: Decodable {
        let png: Data  // base64, which JSONDecoder reads
        let input: [[[Double]]]  // means of 8 x 8 equal parts by channel, 0..255
        let answers: Answers
        let otherwise: [String: Answers]  // what the answers would be with a fault
    }

    let pictures: [Asked]
    let at: [String: [Int]]
    let limits: [String: Double]
}

private let parts = 8
private let largestMeanError = 2.0  // of 255
private let nearer = 0.6  // a fault is named whose answers are at least so much nearer than the right ones

/// A line for people each; the last is "passed" or "failed". Files that select boxes themselves have no numbers to
/// compare, and are refused.
func examine(_ network: Network) throws -> [String] {
    guard let exam = network.description.exam else { throw SampleError.noExam }
    if exam.at.isEmpty { throw SampleError.noNumbers }
    var meanError = 0.0
    var ours: [[String: [Double]]] = []
    for asked in exam.pictures {
        guard let image = UIImage(data: asked.png)?.cgImage, let picture = Picture(image) else { throw SampleError.noExam }
        let (planes, _) = prepare(picture, for: network.description)
        meanError = max(meanError, inputError(planes, network.description, asked.input))
        let outputs = try network.run(planes)
        ours.append(Dictionary(uniqueKeysWithValues: exam.at.map { name, places in (name, places.map { outputs[name]![$0] }) }))
    }
    let right = exam.pictures.map(\.answers)

    /// Root of the summed squares of differences, as a share of how the right answers lie about their mean.
    func distance(_ name: String, _ theirs: [Exam.Answers]) -> Double {
        let answers = right.flatMap { $0[name]!.numbers }
        let mean = answers.reduce(0, +) / Double(answers.count)
        let spread = answers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let pairs = zip(ours.flatMap { $0[name]! }, theirs.flatMap { $0[name]!.numbers })
        let apart = pairs.reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        return (apart / (spread > 0 ? spread : 1)).squareRoot()
    }

    /// Of all outputs, each by its limit: what comes out coarsely tells little.
    func combined(_ theirs: [Exam.Answers]) -> Double {
        let shares = exam.at.keys.map { distance($0, theirs) / max(exam.limits[$0] ?? 0, 1e-6) }
        return shares.reduce(0) { $0 + $1 * $1 }.squareRoot()
    }

    var errors = [("input", meanError, largestMeanError)]
    errors += exam.at.keys.sorted().map { ($0, distance($0, right), exam.limits[$0] ?? 0) }
    var lines = errors.map { name, error, limit in
        "\(name) \(error) from the model's, \(limit) is allowed\(error <= limit ? "" : ": WRONG")"
    }
    if errors.allSatisfy({ $0.1 <= $0.2 }) { return lines + ["passed"] }
    let distances = exam.pictures[0].otherwise.keys.map { fault in
        (fault, combined(exam.pictures.map { $0.otherwise[fault]! }))
    }
    let nearest = distances.min { $0.1 < $1.1 }.flatMap { $0.1 < nearer * combined(right) ? $0.0 : nil }
    lines.append("likely cause: \(nearest ?? "none that the exam knows")")
    return lines + ["failed"]
}

/// By how much the mean of a part of the input is off at most, 0..255.
private func inputError(_ planes: [UInt8], _ description: Description, _ expected: [[[Double]]]) -> Double {
    let (width, height) = (description.width, description.height)
    var worst = 0.0
    for channel in 0..<3 {
        for row in 0..<parts {
            for column in 0..<parts {
                let rows = row * height / parts..<(row + 1) * height / parts
                let columns = column * width / parts..<(column + 1) * width / parts
                var sum = 0
                for y in rows {
                    for x in columns { sum += Int(planes[(channel * height + y) * width + x]) }
                }
                let mean = Double(sum) / Double(rows.count * columns.count)
                worst = max(worst, abs(mean - expected[channel][row][column]))
            }
        }
    }
    return worst
}
