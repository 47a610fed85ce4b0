// SPDX-License-Identifier: Apache-2.0

/// First in, first out, in constant time on the average: what is taken leaves a gap at the front, which is closed when
/// it is as long as the rest. (`Array.removeFirst` moves all that is left, each time.)
struct Queue<Element> {
    /// `nil` up to `head`: an element that was taken is not kept.
    private var elements: [Element?] = []
    private var head = 0

    var isEmpty: Bool { head == elements.count }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func removeFirst() -> Element? {
        guard !isEmpty else { return nil }
        let first = elements[head].take()
        head += 1
        if head * 2 >= elements.count {
            elements.removeFirst(head)
            head = 0
        }
        return first
    }

    mutating func removeAll() { self = Queue() }
}

extension Queue: Sendable where Element: Sendable {}
