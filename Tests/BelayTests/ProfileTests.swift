// SPDX-License-Identifier: Apache-2.0
import Belay
import Foundation
import Testing

extension BelayTests {
    /// Profiles and the audit from Swift; what they say is tested in C.
    @Suite("profiles") struct Profiles {
        private func bytes(_ body: (Int32) throws -> Void) throws -> Data {
            let path = FileManager.default.temporaryDirectory.appendingPathComponent("belay-\(UUID().uuidString)").path
            #expect(FileManager.default.createFile(atPath: path, contents: nil))
            defer { try? FileManager.default.removeItem(atPath: path) }
            let file = try #require(FileHandle(forWritingAtPath: path))
            try body(file.fileDescriptor)
            try file.close()
            return try #require(FileManager.default.contents(atPath: path))
        }

        @Test func profilesAreWritten() throws {
            try ContextProfile.sample(oneIn: 1)
            defer { try? ContextProfile.sample(oneIn: 0) }
            withCancel { _ in }
            for kind in [ContextProfile.Kind.live, .derivations, .cancellations] {
                #expect(try !bytes { try ContextProfile.write(kind, to: $0) }.isEmpty)
            }
            let audit = try bytes { try ContextProfile.audit(to: $0) }
            #expect(String(decoding: audit, as: UTF8.self).hasPrefix("belay audit: "))
        }

        @Test func aDescriptorThatIsNoneIsAnError() {
            #expect(throws: ContextError.self) { try ContextProfile.write(.live, to: -1) }
            #expect(throws: ContextError.self) { try ContextProfile.audit(to: -1) }
        }
    }
}
