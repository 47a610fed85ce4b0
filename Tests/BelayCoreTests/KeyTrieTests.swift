// SPDX-License-Identifier: Apache-2.0
import CBelay
import Testing

@testable import BelayCore

/// Values beside a dictionary, with keys that are chosen to meet in the trie.
extension LiveCountTests {
    @Suite(.serialized) struct KeyTrieTests {
        /// Keys are addresses and are never read through, so any number that is not 0 will do.
        private func key(_ bits: UInt) -> UnsafePointer<belay_key> { UnsafePointer(bitPattern: bits)! }

        /// The inverse of the hash's multiplier modulo 2^64, by Newton's method: `inverse &* multiplier == 1`.
        private let inverse: UInt64 = {
            let multiplier: UInt64 = 0x9E37_79B9_7F4A_7C15
            var x = multiplier
            for _ in 0..<6 { x = x &* (2 &- multiplier &* x) }
            return x
        }()

        private func compare(_ keys: [UInt], seed: UInt64) {
            var random = Random(seed: seed)
            expectNoLeak {
                var chain = [belay_with_cancel(belay_background())]
                var model: [[UInt: UInt]] = [[:]]
                for step in 1...80 {
                    let bits = keys.randomElement(using: &random)!
                    let value = UnsafeMutableRawPointer(bitPattern: UInt(step) << 4)
                    let from = Int.random(in: max(0, chain.count - 3)..<chain.count, using: &random)
                    chain.append(belay_with_value(chain[from], key(bits), value, nil))
                    var next = model[from]
                    next[bits] = UInt(step) << 4
                    model.append(next)
                }
                for (ctx, values) in zip(chain, model) {
                    for bits in keys {
                        expect(UInt(bitPattern: belay_value(ctx, key(bits))) == values[bits] ?? 0)
                    }
                }
                for ctx in chain.shuffled(using: &random) { expect(belay_close(ctx) == BELAY_OK) }
            }
        }

        @Test(arguments: 0..<8)
        func ordinaryKeys(seed: UInt64) {
            compare((1...40).map { UInt($0) * 8 }, seed: seed)
        }

        /// Hashes that differ in their last bits only: the trie goes down all its sixteen levels.
        @Test(arguments: 0..<8)
        func keysThatMeetToTheLastLevel(seed: UInt64) {
            #expect(inverse &* 0x9E37_79B9_7F4A_7C15 == 1)
            // No address of a key has the highest bit: that is what tells pools from them.
            let keys = (1...120).map { UInt((0xABCD_EF00_0000_0000 | UInt64($0)) &* inverse) }.filter { $0 >> 63 == 0 }
            #expect(keys.count >= 40)
            compare(Array(keys.prefix(40)), seed: seed)
        }
    }
}
