// SPDX-License-Identifier: Apache-2.0
import CBelayPlatform

/// The variables of the process's environment.
enum Environment {
    /// Whether a variable is set, to something else than nothing or 0.
    static func isOn(_ name: StaticString) -> Bool {
        guard let text = belaycore_environment(name.cString) else { return false }
        return text.pointee != 0 && text.pointee != 48
    }

    /// The decimal number that a variable starts with; 0 if there is none.
    static func number(_ name: StaticString) -> UInt32 {
        let name = name.cString
        guard var text = belaycore_environment(name) else { return 0 }
        var value: UInt64 = 0
        while text.pointee >= 48 && text.pointee <= 57 && value < UInt64(UInt32.max) {
            value = value * 10 + UInt64(text.pointee - 48)
            text += 1
        }
        return UInt32(clamping: value)
    }
}
