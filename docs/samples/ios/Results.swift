import UIKit

private let leastScore = 0.4  // of boxes that are shown; files keep far more, for scores of precision and recall

struct Found {
    let label: Int
    let score: Double
    let box: [Double]?  // left, top, right, bottom in pixels of the picture; none of a classifier
}

/// Boxes of a detector, best first; of a classifier the best three classes.
func results(_ outputs: Outputs, of picture: Picture, at place: Place, by description: Description) throws -> [Found] {
    let scores = outputs["scores"] ?? []
    if description.task == "classification" {
        let order = scores.indices.sorted { scores[$0] > scores[$1] }
        return order.prefix(3).map { Found(label: $0, score: scores[$0], box: nil) }
    }
    guard description.task == "detection", let corners = outputs["boxes"] else {
        throw SampleError.otherTask(description.task)
    }
    func box(_ row: Int) -> [Double] { Array(corners[4 * row..<4 * row + 4]) }
    var found: [Found] = []
    if description.outputs == "selected_boxes" {
        for (row, label) in (outputs["labels"] ?? []).enumerated() where label >= 0 {
            found.append(Found(label: Int(label), score: scores[row], box: box(row)))
        }
    } else {
        found = selected(scores, box, description)
    }
    let limits = [Double(picture.width), Double(picture.height)]
    return found.map { each in
        let original = each.box!.enumerated().map { side, at in
            let isAcross = side % 2 == 0
            let value = (at - (isAcross ? place.offsetX : place.offsetY)) / (isAcross ? place.scaleX : place.scaleY)
            return min(max(value, 0), limits[side % 2])
        }
        return Found(label: each.label, score: each.score, box: original)
    }
}

/// Threshold and suppression, of scores [A, K].
private func selected(_ scores: [Double], _ box: (Int) -> [Double], _ by: Description) -> [Found] {
    let classes = by.classNames.count
    let least = by.selection.scoreThreshold ?? 0
    let order = scores.indices.filter { scores[$0] >= least }.sorted { scores[$0] > scores[$1] }
    var kept: [Found] = []
    for pair in order.prefix(by.selection.candidates ?? order.count) {
        if kept.count == by.selection.limit { break }
        let next = Found(label: pair % classes, score: scores[pair], box: box(pair / classes))
        let isHidden = kept.contains {
            $0.label == next.label && iou($0.box!, next.box!) > (by.selection.nmsThreshold ?? 1)
        }
        if !isHidden { kept.append(next) }
    }
    return kept
}

private func iou(_ one: [Double], _ other: [Double]) -> Double {
    let width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    let height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    func area(_ box: [Double]) -> Double { (box[2] - box[0]) * (box[3] - box[1]) }
    return width * height / (area(one) + area(other) - width * height)
}

/// The picture with its results drawn into it; upright, as `UIImage` with orientation `.up`.
func annotated(_ image: UIImage, with network: Network) throws -> UIImage? {
    guard let pixels = image.cgImage, let picture = Picture(pixels) else { return nil }
    let (planes, place) = prepare(picture, for: network.description)
    let found = try results(network.run(planes), of: picture, at: place, by: network.description)
        .filter { $0.box == nil || $0.score >= leastScore }
    let size = CGSize(width: picture.width, height: picture.height)
    let format = UIGraphicsImageRendererFormat()
    format.scale = 1  // boxes are in pixels
    return UIGraphicsImageRenderer(size: size, format: format).image { context in
        image.draw(in: CGRect(origin: .zero, size: size))
        let side = (size.width * size.height).squareRoot()
        context.cgContext.setLineWidth(side / 220)
        for (row, each) in found.enumerated().reversed() {  // the best ends up on top
            // Steps of the golden ratio never come close to an earlier hue.
            let hue = (0.618 * Double(each.label)).truncatingRemainder(dividingBy: 1)
            let color = UIColor(hue: hue, saturation: 0.8, brightness: 0.8, alpha: 1)
            let box = each.box ?? [0, Double(row) * side / 22, 0, 0]
            color.setStroke()
            if each.box != nil {
                context.stroke(CGRect(x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1]))
            }
            let text = " \(network.description.classNames[each.label]) \(String(format: "%.2f", each.score)) "
            let look: [NSAttributedString.Key: Any] = [
                .font: UIFont.systemFont(ofSize: side / 30), .foregroundColor: UIColor.white, .backgroundColor: color,
            ]
            text.draw(at: CGPoint(x: box[0], y: box[1]), withAttributes: look)
        }
    }
}
