//! Memory from the kernel, and back to it.

use std::alloc::Layout;
use std::ptr;

/// What sizes are rounded up to. Where the kernel's pages are larger it rounds up itself, each time alike.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Memory of its own for one thing, all of it zero; null when there is none.
pub(crate) fn map(layout: Layout) -> *mut u8 {
    let Some(bytes) = whole_pages(layout.size()) else { return ptr::null_mut() };
    if layout.align() <= PAGE_BYTES { map_bytes(bytes) } else { map_aligned(bytes, layout.align()) }
}

/// Gives back what [`map`] has given for this layout.
///
/// # Safety
/// `block` is from [`map`], by the same layout, and nobody uses it any more.
pub(crate) unsafe fn unmap(block: *mut u8, layout: Layout) {
    // It was mapped with that size, so that there is one.
    let bytes = whole_pages(layout.size()).unwrap_or(layout.size());
    // SAFETY: the caller's promise.
    unsafe { unmap_bytes(block, bytes) };
}

/// Gives the thing another size, and perhaps another place; null when that can't be, and then all is as it was.
///
/// # Safety
/// `block` is from [`map`], by that layout, aligned to a page at most.
pub(crate) unsafe fn remap(block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    let (Some(bytes), Some(new_bytes)) = (whole_pages(layout.size()), whole_pages(new_size)) else {
        return ptr::null_mut();
    };
    if bytes == new_bytes {
        return block;
    }
    // SAFETY: the caller's promise; the kernel moves what is there.
    let moved = unsafe { libc::mremap(block.cast(), bytes, new_bytes, libc::MREMAP_MAYMOVE) };
    if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() }
}

/// So much memory at a multiple of `align`, a power of two of at least a page.
pub(crate) fn map_aligned(bytes: usize, align: usize) -> *mut u8 {
    let Some(with_slack) = bytes.checked_add(align) else { return ptr::null_mut() };
    let block = map_bytes(with_slack);
    if block.is_null() {
        return block;
    }
    let before = block.align_offset(align);
    let after = with_slack - before - bytes;
    // SAFETY: both ends are parts of what was just mapped, which nobody has seen.
    unsafe {
        let aligned = block.add(before);
        unmap_bytes(block, before);
        unmap_bytes(aligned.add(bytes), after);
        aligned
    }
}

/// Lets the kernel have the pages, not the addresses: what is read there next is zero.
///
/// # Safety
/// Nobody needs what is in there.
pub(crate) unsafe fn forget(block: *mut u8, bytes: usize) {
    // SAFETY: the caller's promise. That it can fail only means that the pages stay.
    unsafe { libc::madvise(block.cast(), bytes, libc::MADV_DONTNEED) };
}

pub(crate) fn let_others_go() {
    // SAFETY: it takes nothing and has no conditions.
    unsafe { libc::sched_yield() };
}

fn map_bytes(bytes: usize) -> *mut u8 {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory at a place of the kernel's choice touches nothing that is in use.
    let block = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
    if block == libc::MAP_FAILED { ptr::null_mut() } else { block.cast() }
}

/// # Safety
/// The bytes are mapped, whole pages, and nobody uses them any more.
unsafe fn unmap_bytes(block: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller's promise. There is nothing to be done where it fails.
        unsafe { libc::munmap(block.cast(), bytes) };
    }
}

fn whole_pages(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(PAGE_BYTES)
}
