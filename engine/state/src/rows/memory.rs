//! How much memory lists and pieces of memory take.
//!
//! The pages of a long list are counted only as far as the list uses them: the rest is address
//! space, not memory. A piece of memory is counted with what the allocator adds to it.

/// Length from which on a list has pages of its own.
const LONG: usize = 128 << 10;

/// Bytes of memory that a list takes.
pub(crate) fn list_bytes<T>(list: &Vec<T>) -> usize {
    let reserved = list.capacity() * size_of::<T>();
    if reserved >= LONG { size_of_val(list.as_slice()) } else { piece_bytes(reserved) }
}

/// Bytes that a piece of memory of so many takes.
pub(crate) fn piece_bytes(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { ((bytes + 8).next_multiple_of(16)).max(32) }
}
