//! The sizes that small things are rounded up to: sixteenths up to 128 bytes, then four for each power of two.

use std::alloc::Layout;

/// Larger things come from the kernel.
pub(crate) const MAX_SMALL_BYTES: usize = 32 * 1024;
/// What every block is aligned to.
const STEP: usize = 16;
const STEPS: usize = 8;
const FINE_BYTES: usize = STEP * STEPS;
/// The largest alignment that a slab gives; what asks for more comes from the kernel.
pub(crate) const MAX_ALIGNMENT: usize = 4096;

/// How many classes there are.
pub(crate) const COUNT: usize = class_of(MAX_SMALL_BYTES) + 1;

/// The class that a layout is served from. `None`: from the kernel.
pub(crate) const fn class_for(layout: Layout) -> Option<usize> {
    let (size, align) = (layout.size(), layout.align());
    if size > MAX_SMALL_BYTES || align > MAX_ALIGNMENT {
        None
    } else if align <= STEP {
        Some(class_of(size))
    } else {
        // Blocks of a power of two are aligned to it.
        let size = if size > align { size } else { align };
        Some(class_of(size.next_power_of_two()))
    }
}

/// The class of a size of at least 1.
pub(crate) const fn class_of(size: usize) -> usize {
    if size <= FINE_BYTES {
        return size.saturating_sub(1) / STEP;
    }
    let last = size - 1;
    let power = last.ilog2() as usize;
    let quarter = (last >> (power - 2)) & 3;
    STEPS + (power - FINE_BYTES.ilog2() as usize) * 4 + quarter
}

/// The size of a class's blocks.
pub(crate) const fn bytes_of(class: usize) -> usize {
    if class < STEPS {
        return (class + 1) * STEP;
    }
    let (power, quarter) = ((class - STEPS) / 4 + FINE_BYTES.ilog2() as usize, (class - STEPS) % 4);
    (quarter + 5) << (power - 2)
}

/// What a class's blocks are aligned to.
pub(crate) const fn alignment_of(class: usize) -> usize {
    let bytes = bytes_of(class);
    let own = 1 << bytes.trailing_zeros();
    if own > MAX_ALIGNMENT { MAX_ALIGNMENT } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        let mut before = 0;
        for class in 0..COUNT {
            assert!(bytes_of(class) > before, "{class}");
            assert_eq!((class_of(before + 1), class_of(bytes_of(class))), (class, class));
            assert!(bytes_of(class) <= (before + 1) * 5 / 4 + STEP, "a quarter at most is lost");
            before = bytes_of(class);
        }
        assert_eq!(before, MAX_SMALL_BYTES);
    }

    #[test]
    fn what_asks_for_an_alignment_has_a_class_with_it() {
        for align in (0..16).map(|power| 1 << power) {
            for size in (1..MAX_SMALL_BYTES + 3000).step_by(97) {
                let class = class_for(Layout::from_size_align(size, align).unwrap());
                match class {
                    Some(class) => assert!(bytes_of(class) >= size && alignment_of(class) >= align),
                    None => assert!(size > MAX_SMALL_BYTES || align > MAX_ALIGNMENT),
                }
            }
        }
    }
}
