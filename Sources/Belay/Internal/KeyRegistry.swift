// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

// From a key type to the `belay_key` that stands for it.
//
// C knows a key by the address of a `belay_key`, and may read the name in it. Swift has no static storage per generic
// parameter, and a type's metadata, whose address would do as an identity, has no name where C looks for one. So each
// key type gets a record when it is first used, and the record is found through a hash table of metadata addresses.
//
// Readers take no lock. Records and tables are immortal: a slot goes from empty to a record once, and a table that was
// outgrown stays readable (all of those together are smaller than the newest). A reader that finds nothing asks again
// under the lock that writers hold. There are as many records as key types, so what is never freed is bounded.

/// What is known of a key type. Immortal.
@usableFromInline
struct KeyRecord: @unchecked Sendable {  // all it points to is immutable or has its own lock
    /// The key type.
    let type: ObjectIdentifier
    /// The address that is the key in C.
    @usableFromInline let address: UnsafePointer<belay_key>
    /// The boxes of its values, all of them `ValueBox<K.Value>`.
    @usableFromInline let pool: Unmanaged<ValuePool>

    fileprivate init<K: ContextKey>(_ key: K.Type) {
        let name = K.name.utf8CString
        let text = UnsafeMutableBufferPointer<CChar>.allocate(capacity: name.count)
        _ = text.initialize(from: name)
        let record = UnsafeMutablePointer<belay_key>.allocate(capacity: 1)
        record.initialize(to: belay_key(name: text.baseAddress))
        type = ObjectIdentifier(key)
        address = UnsafePointer(record)
        pool = .passRetained(ValuePool())
    }
}

@usableFromInline
enum KeyRegistry {
    /// The record of a key type, made on first use.
    @usableFromInline
    static func record<K: ContextKey>(for key: K.Type) -> KeyRecord {
        let table = published.load(ordering: .acquiring)  // pairs with add
        return table.pointee.find(ObjectIdentifier(key))?.pointee ?? add(KeyRecord(key))
    }

    private nonisolated(unsafe) static let published = Atomic(immortal(KeyTable(capacity: 64)))
    private static let count = Lock(0)

    /// Enters a record. If another thread has entered one for the same type meanwhile, that one counts, and the memory
    /// of this one is lost.
    private static func add(_ record: KeyRecord) -> KeyRecord {
        count.withLock { count in
            var table = published.load(ordering: .relaxed)
            if let found = table.pointee.find(record.type) { return found.pointee }
            if (count + 1) * 2 > table.pointee.capacity {
                table = immortal(table.pointee.doubled())
                published.store(table, ordering: .releasing)  // pairs with record(for:)
            }
            table.pointee.insert(immortal(record))
            count += 1
            return record
        }
    }

    private static func immortal<T>(_ value: T) -> UnsafePointer<T> {
        let pointer = UnsafeMutablePointer<T>.allocate(capacity: 1)
        pointer.initialize(to: value)
        return UnsafePointer(pointer)
    }
}
