// SPDX-License-Identifier: Apache-2.0
import CBelay
import Synchronization

/// A node without an end of its own. (Transparent, because in a caller with much to do itself it would become a call,
/// with eleven arguments: a sixth of all its instructions.)
@_transparent func deriveValue(
    _ above: Parentage, kind: UInt64, key: UInt64, value: UInt64, drop: UInt64, marks: UInt64 = 0, as birth: Counter
) -> belay_ctx {
    let runtime = State(above.runtime).runtime
    guard let (cell, index, generation) = takeNode(runtime) else { return above.leave(BELAY_ENOMEM) }
    let values = kind == Kind.value ? index : above.values
    let born = cell.asValue
    born.pointee.key.set(key)
    born.pointee.value.set(value)
    born.pointee.parent.set(above.parent)
    born.pointee.scope.set(above.scope)
    born.pointee.values.set(values)
    born.pointee.clock.set(above.clock)
    born.pointee.listen.set(0)
    born.pointee.drop.set(drop)
    born.pointee.trie.set(0)
    if kind == Kind.value {
        guard let trie = KeyTrie.extend(above.values, with: index) else {
            cell.giveCell(generation: generation, runtime: runtime)
            return above.leave(BELAY_ENOMEM)
        }
        born.pointee.trie.set(trie)
    }
    return publish(cell, index: index, generation: generation, kind: kind, rest: above.runtime | marks, as: birth)
}

@_cdecl("belay_with_value") @implementation
public func belay_with_value(
    _ parent: belay_ctx, _ key: UnsafePointer<belay_key>?, _ value: UnsafeMutableRawPointer?,
    _ drop: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?
) -> belay_ctx {
    var born = belay_ctx()
    if let key {
        if let above = Parentage.join(parent) {
            born = deriveValue(
                above, kind: Kind.value, key: UInt64(UInt(bitPattern: key)), value: UInt64(UInt(bitPattern: value)),
                drop: UInt64(UInt(bitPattern: unsafeBitCast(drop, to: UnsafeRawPointer?.self))), as: .createdValue)
        }
    } else {
        LastStatus.set(BELAY_EINVAL)
    }
    // The value is ours in every case, so that code that checks nothing leaks nothing.
    if born.bits == 0 {
        let status = belay_last_status()
        drop?(value)
        // What failed in there is not what failed here.
        LastStatus.set(status)
    }
    return born
}

@_cdecl("belay_without_cancel") @implementation
public func belay_without_cancel(_ parent: belay_ctx) -> belay_ctx {
    guard let above = Parentage.join(parent) else { return belay_ctx() }
    let cut = Parentage(parent: above.parent, scope: 0, values: above.values, clock: 0, runtime: above.runtime)
    return deriveValue(cut, kind: Kind.detached, key: 0, value: 0, drop: 0, as: .createdDetached)
}
