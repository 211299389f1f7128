//! The heap of the extension, which gives memory back: between invocations it is the function's.
//!
//! Small things lie in slabs of one size each; a slab in which nothing is left goes back to the kernel, but for a few
//! that are kept for what comes next. Large things come from the kernel and go back to it at once. The heap of the C
//! library that the layer's extension is linked with keeps whatever small things have once taken, and rounds all sizes
//! up to powers of two.

#![allow(unsafe_code)]

mod classes;
mod kernel;
mod slab;

use classes::{MAX_SMALL_BYTES, class_for};
use slab::Slabs;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Turns of waiting for another thread before it is let go first.
const SPINS: u32 = 100;

/// The heap. One serves the whole process.
pub struct Heap {
    is_taken: AtomicBool,
    slabs: UnsafeCell<Slabs>,
}

// SAFETY: the slabs are only ever reached through `with_slabs`, by one thread at a time.
unsafe impl Sync for Heap {}

impl Heap {
    pub const fn new() -> Self {
        Self { is_taken: AtomicBool::new(false), slabs: UnsafeCell::new(Slabs::new()) }
    }

    /// Gives back what is kept for things to come.
    #[cfg(test)]
    fn give_back(&self) {
        self.with_slabs(Slabs::give_back);
    }

    /// Bytes of slabs that hold something or are kept.
    #[cfg(test)]
    fn slab_bytes(&self) -> usize {
        self.with_slabs(|slabs| slabs.bytes())
    }

    fn with_slabs<R>(&self, act: impl FnOnce(&mut Slabs) -> R) -> R {
        let mut spins = 0;
        while self.is_taken.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                kernel::let_others_go();
            }
        }
        // SAFETY: whoever has set `is_taken` is alone in here, and nothing in `act` allocates or panics.
        let result = act(unsafe { &mut *self.slabs.get() });
        self.is_taken.store(false, Ordering::Release);
        result
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").finish_non_exhaustive()
    }
}

// SAFETY: a block is of the layout's size and alignment (the classes' tests), is handed out once until it comes back,
// and what is asked for again by its layout is found in the place where the same layout was served.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_for(layout) {
            Some(class) => self.with_slabs(|slabs| slabs.take(class)),
            None => kernel::map(layout),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class_for(layout) {
            // SAFETY: the block comes from `take`, by the same layout.
            Some(_) => self.with_slabs(|slabs| unsafe { slabs.put_back(block) }),
            // SAFETY: the block comes from `map`, by the same layout.
            None => unsafe { kernel::unmap(block, layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of `alloc`.
        let block = unsafe { self.alloc(layout) };
        // What comes from the kernel is zero.
        if !block.is_null() && class_for(layout).is_some() {
            // SAFETY: the block is of that size.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        match (class_for(layout), class_for(new_layout)) {
            (Some(class), Some(new_class)) if class == new_class => block,
            (None, None) if layout.align() <= kernel::PAGE_BYTES => {
                // SAFETY: the block comes from `map`, by that layout.
                unsafe { kernel::remap(block, layout, new_size) }
            }
            _ => {
                // SAFETY: the new layout is a valid one, of more than nothing.
                let new_block = unsafe { self.alloc(new_layout) };
                if !new_block.is_null() {
                    // SAFETY: both blocks are at least that long, and two different ones.
                    unsafe { ptr::copy_nonoverlapping(block, new_block, layout.size().min(new_size)) };
                    // SAFETY: the block is of that layout, and nobody uses it any more.
                    unsafe { self.dealloc(block, layout) };
                }
                new_block
            }
        }
    }
}

/// What one allocation of so many bytes really takes.
pub const fn taken_by(bytes: usize) -> usize {
    if bytes > MAX_SMALL_BYTES {
        bytes.next_multiple_of(kernel::PAGE_BYTES)
    } else if bytes == 0 {
        0
    } else {
        classes::bytes_of(classes::class_of(bytes))
    }
}

#[cfg(test)]
mod tests;
