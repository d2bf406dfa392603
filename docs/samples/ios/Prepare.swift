import CoreGraphics

/// Pixels of an upright picture: red, green, blue and one that is not looked at, row after row.
struct Picture {
    let width, height: Int
    let rgba: [UInt8]

    /// The numbers that the file holds, without matching of colours: the model was trained on those.
    init?(_ image: CGImage) {
        (width, height) = (image.width, image.height)
        var pixels = [UInt8](repeating: 255, count: 4 * width * height)
        let isDrawn = pixels.withUnsafeMutableBytes { bytes -> Bool in
            guard let space = image.colorSpace?.model == .rgb ? image.colorSpace : CGColorSpace(name: CGColorSpace.sRGB),
                let context = CGContext(
                    data: bytes.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
                    bytesPerRow: 4 * image.width, space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            else { return false }
            context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
            return true
        }
        guard isDrawn else { return nil }
        rgba = pixels
    }
}

/// Where a picture lies in the input: input_xy = picture_xy * scale + offset, of the edges of pixels.
struct Place {
    let scaleX, scaleY, offsetX, offsetY: Double
}

private let cropFraction = 0.875
private let grey: UInt8 = 127  // around a letterboxed picture
private let bits = 22  // Pillow's, whose whole numbers decide where a mean lies half way

private struct Window {
    let left, top, width, height: Int
}

/// uint8 [3, H, W]: red, green, blue.
func prepare(_ picture: Picture, for description: Description) -> (planes: [UInt8], place: Place) {
    let (seen, inside) = (seen(of: picture, for: description), inside(of: picture, for: description))
    let across = mixtures(of: seen.width, into: inside.width)
    let down = mixtures(of: seen.height, into: inside.height)
    var planes = [UInt8](repeating: grey, count: 3 * description.width * description.height)
    var narrow = [Int](repeating: 0, count: inside.width * seen.height)  // one channel, its rows resized
    for channel in 0..<3 {
        for y in 0..<seen.height {
            let row = (seen.top + y) * picture.width + seen.left
            for x in 0..<inside.width {
                narrow[y * inside.width + x] = across[x].mean { Int(picture.rgba[4 * (row + $0) + channel]) }
            }
        }
        for y in 0..<inside.height {
            let row = (channel * description.height + inside.top + y) * description.width + inside.left
            for x in 0..<inside.width {
                planes[row + x] = UInt8(down[y].mean { narrow[$0 * inside.width + x] })
            }
        }
    }
    let scaleX = Double(inside.width) / Double(seen.width)
    let scaleY = Double(inside.height) / Double(seen.height)
    let place = Place(
        scaleX: scaleX, scaleY: scaleY, offsetX: Double(inside.left) - Double(seen.left) * scaleX,
        offsetY: Double(inside.top) - Double(seen.top) * scaleY)
    return (planes, place)
}

/// As Python rounds: halves go to the even number.
private func rounded(_ value: Double) -> Int { Int(value.rounded(.toNearestOrEven)) }

/// What of the picture is seen: its middle where it is cropped.
private func seen(of picture: Picture, for to: Description) -> Window {
    guard to.resize == "crop" else { return Window(left: 0, top: 0, width: picture.width, height: picture.height) }
    let fits = max(Double(to.width) / Double(picture.width), Double(to.height) / Double(picture.height))
    let width = max(1, rounded(Double(to.width) / (fits / cropFraction)))
    let height = max(1, rounded(Double(to.height) / (fits / cropFraction)))
    return Window(left: (picture.width - width) / 2, top: (picture.height - height) / 2, width: width, height: height)
}

/// Where in the input that goes: to its middle where there are bars beside it.
private func inside(of picture: Picture, for to: Description) -> Window {
    guard to.resize == "letterbox" else { return Window(left: 0, top: 0, width: to.width, height: to.height) }
    let scale = min(Double(to.width) / Double(picture.width), Double(to.height) / Double(picture.height))
    let width = min(to.width, max(1, rounded(Double(picture.width) * scale)))
    let height = min(to.height, max(1, rounded(Double(picture.height) * scale)))
    return Window(left: (to.width - width) / 2, top: (to.height - height) / 2, width: width, height: height)
}

/// What a new pixel is made of: old pixels from `first` on, and the share of each, of 1 << bits.
private struct Mixture {
    let first: Int
    let shares: [Int]

    func mean(_ pixel: (Int) -> Int) -> Int {
        var sum = 1 << (bits - 1)  // so that cutting off is rounding
        for (place, share) in shares.enumerated() { sum += share * pixel(first + place) }
        return min(255, sum >> bits)
    }
}

/// Bilinear with antialiasing, as Pillow's BILINEAR: a triangle over the old pixels, at least as wide as a new one.
private func mixtures(of count: Int, into newCount: Int) -> [Mixture] {
    let scale = Double(count) / Double(newCount)
    let reach = max(1, scale)
    return (0..<newCount).map { index in
        let centre = (Double(index) + 0.5) * scale
        let first = max(0, Int(centre - reach + 0.5))
        let end = min(count, Int(centre + reach + 0.5))
        let heights = (first..<end).map { max(0, 1 - abs(Double($0) + 0.5 - centre) / reach) }
        let total = heights.reduce(0, +)
        return Mixture(first: first, shares: heights.map { Int($0 / total * Double(1 << bits) + 0.5) })
    }
}
