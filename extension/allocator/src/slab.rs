//! Slabs: places for small things of one size each.

use crate::classes::{COUNT, alignment_of, bytes_of};
use crate::kernel;
use std::ptr;

/// A slab begins at a multiple of its size, so that a block's address tells its slab. Pages that nothing has touched
/// take no memory.
const SLAB_BYTES: usize = 64 * 1024;
/// What the kernel is asked for at once.
const CHUNK_SLABS: usize = 16;
/// Empty slabs that are kept as they are: what a request or a flush takes is taken again by the next.
const KEPT: usize = 16;
/// Places whose memory has been given back, to be used again.
const MAX_PLACES: usize = 8192;

/// What is known of a slab, at its beginning. The blocks come behind it.
struct Slab {
    next: *mut Slab,
    previous: *mut Slab,
    /// The block that came back last; it holds the address of the one before.
    free: *mut u8,
    /// Where no block has ever been.
    fresh: *mut u8,
    used: u32,
    capacity: u32,
    class: usize,
}

const HEAD_BYTES: usize = 64;
const _: () = assert!(size_of::<Slab>() <= HEAD_BYTES);

/// All of them.
pub(crate) struct Slabs {
    /// Of each class those with room.
    open: [*mut Slab; COUNT],
    /// Empty ones, linked by `next`.
    kept: *mut Slab,
    kept_count: usize,
    /// Places without memory, by their numbers: the addresses divided by the size of a slab.
    places: [u32; MAX_PLACES],
    places_count: usize,
    /// Those that hold something, or are kept.
    count: usize,
}

impl Slabs {
    #[expect(clippy::large_stack_arrays, reason = "made where it stays, in a static")]
    pub(crate) const fn new() -> Self {
        Self {
            open: [ptr::null_mut(); COUNT],
            kept: ptr::null_mut(),
            kept_count: 0,
            places: [0; MAX_PLACES],
            places_count: 0,
            count: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.count * SLAB_BYTES
    }

    /// A block of the class; null when there is no memory.
    pub(crate) fn take(&mut self, class: usize) -> *mut u8 {
        let mut slab = self.open[class];
        if slab.is_null() {
            slab = self.new_slab(class);
            if slab.is_null() {
                return ptr::null_mut();
            }
        }
        // SAFETY: an open slab is initialised and has room, behind `fresh` if not in the list of free blocks, whose
        // blocks belong to nobody and hold the next one's address.
        unsafe {
            let block = if (*slab).free.is_null() {
                let block = (*slab).fresh;
                (*slab).fresh = block.add(bytes_of(class));
                block
            } else {
                let block = (*slab).free;
                (*slab).free = block.cast::<*mut u8>().read();
                block
            };
            (*slab).used += 1;
            if (*slab).used == (*slab).capacity {
                self.close(slab);
            }
            block
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The block is from [`Slabs::take`] and nobody uses it any more.
    pub(crate) unsafe fn put_back(&mut self, block: *mut u8) {
        let slab = block.map_addr(|address| address & !(SLAB_BYTES - 1)).cast::<Slab>();
        // SAFETY: a block lies in an initialised slab, at whose beginning that begins; the block is ours again.
        unsafe {
            block.cast::<*mut u8>().write((*slab).free);
            (*slab).free = block;
            let was_full = (*slab).used == (*slab).capacity;
            (*slab).used -= 1;
            if (*slab).used == 0 {
                if !was_full {
                    self.close(slab);
                }
                self.emptied(slab);
            } else if was_full {
                self.reopen(slab);
            }
        }
    }

    /// Gives the memory of empty slabs back.
    #[cfg(test)]
    pub(crate) fn give_back(&mut self) {
        while !self.kept.is_null() {
            let slab = self.kept;
            // SAFETY: what is kept is initialised, and holds nothing.
            unsafe {
                self.kept = (*slab).next;
                self.release(slab);
            }
        }
        self.kept_count = 0;
    }

    fn new_slab(&mut self, class: usize) -> *mut Slab {
        let slab = self.place();
        if slab.is_null() {
            return slab;
        }
        let first = alignment_of(class).max(HEAD_BYTES);
        let capacity = (SLAB_BYTES - first) / bytes_of(class);
        // SAFETY: the place is a slab's, and holds nothing.
        unsafe {
            slab.write(Slab {
                next: ptr::null_mut(),
                previous: ptr::null_mut(),
                free: ptr::null_mut(),
                fresh: slab.cast::<u8>().add(first),
                used: 0,
                // It is far below.
                capacity: u32::try_from(capacity).unwrap_or(0),
                class,
            });
            self.reopen(slab);
        }
        slab
    }

    /// A place for a slab: one that is kept, one whose memory was given back, or a new one.
    fn place(&mut self) -> *mut Slab {
        if !self.kept.is_null() {
            let slab = self.kept;
            // SAFETY: what is kept is initialised.
            self.kept = unsafe { (*slab).next };
            self.kept_count -= 1;
            return slab;
        }
        if self.places_count == 0 {
            let chunk = kernel::map_aligned(CHUNK_SLABS * SLAB_BYTES, SLAB_BYTES);
            if chunk.is_null() {
                return ptr::null_mut();
            }
            // The lowest on top.
            for number in (0..CHUNK_SLABS).rev() {
                self.note_place(chunk.wrapping_add(number * SLAB_BYTES));
            }
        }
        self.places_count -= 1;
        self.count += 1;
        ptr::with_exposed_provenance_mut(self.places[self.places_count] as usize * SLAB_BYTES)
    }

    /// One that cannot be noted is lost, as an address and not as memory.
    fn note_place(&mut self, place: *mut u8) {
        if let Ok(number) = u32::try_from(place.expose_provenance() / SLAB_BYTES)
            && self.places_count < MAX_PLACES
        {
            self.places[self.places_count] = number;
            self.places_count += 1;
        }
    }

    /// # Safety
    /// The slab is initialised, holds nothing, and is in no list.
    unsafe fn emptied(&mut self, slab: *mut Slab) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.kept_count < KEPT {
                (*slab).next = self.kept;
                self.kept = slab;
                self.kept_count += 1;
            } else {
                self.release(slab);
            }
        }
    }

    /// # Safety
    /// As for [`Slabs::emptied`].
    unsafe fn release(&mut self, slab: *mut Slab) {
        // SAFETY: the caller's promise.
        unsafe { kernel::forget(slab.cast(), SLAB_BYTES) };
        self.count -= 1;
        self.note_place(slab.cast());
    }

    /// Puts a slab among those with room.
    ///
    /// # Safety
    /// The slab is initialised and in no list.
    unsafe fn reopen(&mut self, slab: *mut Slab) {
        // SAFETY: the caller's promise; what is in the list is initialised.
        unsafe {
            let head = &mut self.open[(*slab).class];
            (*slab).previous = ptr::null_mut();
            (*slab).next = *head;
            if !head.is_null() {
                (**head).previous = slab;
            }
            *head = slab;
        }
    }

    /// Takes a slab out of those with room.
    ///
    /// # Safety
    /// The slab is among them.
    unsafe fn close(&mut self, slab: *mut Slab) {
        // SAFETY: the caller's promise; what is in the list is initialised.
        unsafe {
            let (next, previous) = ((*slab).next, (*slab).previous);
            if previous.is_null() {
                self.open[(*slab).class] = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
        }
    }
}
