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
        let own: Answers?  // what the file itself answered when it was written, where its rounding is coarse
    }

    let pictures: [Asked]
    let at: [String: [Int]]
    let limits: [String: Double]
    let ownLimits: [String: Double]?

    enum CodingKeys: String, CodingKey {
        case pictures, at, limits
        case ownLimits = "own_limits"
    }
}

private let parts = 8
private let largestMeanError = 2.0  // of 255
private let nearer = 0.6  // a fault is named whose answers are at least so much nearer than the right ones

/// A line for people each; the last is "passed" or "failed". Files that select boxes or decide labels themselves have
/// no numbers to compare, and are refused.
func examine(_ network: Network) throws -> [String] {
    guard let exam = network.description.exam else { throw SampleError.noExam }
    if exam.at.isEmpty || exam.at["labels"] != nil { throw SampleError.noNumbers }
    var meanError = 0.0
    var ours: Found = []
    for asked in exam.pictures {
        guard let image = UIImage(data: asked.png)?.cgImage, let picture = Picture(image) else { throw SampleError.noExam }
        let (planes, _) = prepare(picture, for: network.description)
        meanError = max(meanError, inputError(planes, network.description, asked.input))
        let outputs = try network.run(planes)
        ours.append(Dictionary(uniqueKeysWithValues: exam.at.map { name, places in (name, places.map { outputs[name]![$0] }) }))
    }
    let right = exam.pictures.map { numbers($0.answers, of: exam) }
    var compared = [Compared(ours: ours, right: right, limits: exam.limits)]
    if let limits = exam.ownLimits {
        let own = exam.pictures.map { numbers($0.own ?? [:], of: exam) }
        compared.append(Compared(ours: lessRounding(ours, own, right), right: right, limits: limits))
    }
    let last = compared[compared.count - 1]
    var errors = [("input", meanError, largestMeanError)]
    errors += exam.at.keys.sorted().map { ($0, last.distance($0, right), last.limits[$0] ?? 0) }
    var lines = errors.map { name, error, limit in
        "\(name) \(error) from the model's, \(limit) is allowed\(error <= limit ? "" : ": WRONG")"
    }
    if errors.allSatisfy({ $0.1 <= $0.2 }) { return lines + ["passed"] }
    let faults = exam.pictures[0].otherwise.keys.map { fault in
        (fault, exam.pictures.map { numbers($0.otherwise[fault]!, of: exam) })
    }
    // A gross fault changes what rounding does, so answers as they are tell it; a small one is told without that.
    let cause = compared.lazy.compactMap { $0.nearest(faults) }.first
    lines.append("likely cause: \(cause ?? "none that the exam knows")")
    return lines + ["failed"]
}

/// Of each picture, by output.
private typealias Found = [[String: [Double]]]

private func numbers(_ answers: Exam.Answers, of exam: Exam) -> [String: [Double]] {
    Dictionary(uniqueKeysWithValues: exam.at.keys.map { ($0, answers[$0]!.numbers) })
}

/// Answers without what rounding had changed when the file was written: it moves them to the same place everywhere.
private func lessRounding(_ ours: Found, _ own: Found, _ right: Found) -> Found {
    ours.indices.map { picture in
        Dictionary(uniqueKeysWithValues: ours[picture].map { name, values in
            (name, values.indices.map { values[$0] - own[picture][name]![$0] + right[picture][name]![$0] })
        })
    }
}

/// Answers, those that are right, and how far apart they may be.
private struct Compared {
    let ours: Found, right: Found
    let limits: [String: Double]

    /// Root of the summed squares of differences, as a share of how the right answers lie about their mean.
    func distance(_ name: String, _ theirs: Found) -> Double {
        let answers = right.flatMap { $0[name]! }
        let mean = answers.reduce(0, +) / Double(answers.count)
        let spread = answers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let pairs = zip(ours.flatMap { $0[name]! }, theirs.flatMap { $0[name]! })
        let apart = pairs.reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        return (apart / (spread > 0 ? spread : 1)).squareRoot()
    }

    /// The fault whose answers are clearly nearer than the right ones.
    func nearest(_ faults: [(String, Found)]) -> String? {
        let distances = faults.map { ($0.0, combined($0.1)) }
        return distances.min { $0.1 < $1.1 }.flatMap { $0.1 < nearer * combined(right) ? $0.0 : nil }
    }

    /// Of all outputs, each by its limit: what comes out coarsely tells little.
    private func combined(_ theirs: Found) -> Double {
        let shares = ours[0].keys.map { distance($0, theirs) / max(limits[$0] ?? 0, 1e-6) }
        return shares.reduce(0) { $0 + $1 * $1 }.squareRoot()
    }
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
