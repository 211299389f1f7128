#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the tests are the caller, and keep the layouts with the blocks"
)]

use super::*;
use proptest::prelude::*;

/// Something on the heap, and what was written to it.
struct Block {
    at: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Block {
    fn new(heap: &Heap, size: usize, align: usize, mark: u8) -> Self {
        let layout = Layout::from_size_align(size, align).unwrap();
        let at = unsafe { heap.alloc(layout) };
        assert!(!at.is_null() && at.addr().is_multiple_of(align));
        unsafe { ptr::write_bytes(at, mark, size) };
        Self { at, layout, mark }
    }

    fn check(&self, bytes: usize) {
        let written = unsafe { std::slice::from_raw_parts(self.at, bytes) };
        assert!(written.iter().all(|byte| *byte == self.mark), "{:?}", self.layout);
    }

    fn resize(&mut self, heap: &Heap, size: usize) {
        self.at = unsafe { heap.realloc(self.at, self.layout, size) };
        assert!(!self.at.is_null() && self.at.addr().is_multiple_of(self.layout.align()));
        self.check(self.layout.size().min(size));
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        unsafe { ptr::write_bytes(self.at, self.mark, size) };
    }

    fn free(self, heap: &Heap) {
        self.check(self.layout.size());
        unsafe { heap.dealloc(self.at, self.layout) };
    }
}

fn free_all(blocks: impl IntoIterator<Item = Block>, heap: &Heap) {
    for block in blocks {
        block.free(heap);
    }
}

#[derive(Debug, Clone)]
enum Act {
    New { size: usize, align: usize },
    Resize { which: usize, size: usize },
    Free { which: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let size = prop_oneof![8 => 1_usize..600, 3 => 1_usize..40_000, 1 => 30_000_usize..300_000];
    let align = prop_oneof![8 => Just(8_usize), 2 => (0_u32..14).prop_map(|power| 1 << power)];
    prop_oneof![
        4 => (size.clone(), align).prop_map(|(size, align)| Act::New { size, align }),
        2 => (any::<usize>(), size).prop_map(|(which, size)| Act::Resize { which, size }),
        3 => any::<usize>().prop_map(|which| Act::Free { which }),
    ]
}

proptest! {
    #[test]
    fn no_two_things_share_a_byte(acts in prop::collection::vec(act(), 1..400)) {
        let heap = Heap::new();
        let mut blocks: Vec<Block> = Vec::new();
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::New { size, align } => blocks.push(Block::new(&heap, size, align, u8::try_from(number % 256).unwrap())),
                Act::Resize { which, size } if !blocks.is_empty() => {
                    let which = which % blocks.len();
                    blocks[which].resize(&heap, size);
                }
                Act::Free { which } if !blocks.is_empty() => blocks.swap_remove(which % blocks.len()).free(&heap),
                Act::Resize { .. } | Act::Free { .. } => {}
            }
        }
        free_all(blocks, &heap);
        heap.give_back();
        prop_assert_eq!(heap.slab_bytes(), 0);
    }
}

#[test]
fn what_many_small_things_took_is_given_back_but_for_a_little() {
    let heap = Heap::new();
    let blocks: Vec<Block> = (0..100_000).map(|number| Block::new(&heap, 16 + number % 500, 8, 7)).collect();
    let most = heap.slab_bytes();
    assert!(most > 25_000_000, "{most}");
    // Some live on, such as a new connection's.
    let (stay, go): (Vec<_>, Vec<_>) = blocks.into_iter().enumerate().partition(|(at, _)| *at < 10);
    free_all(go.into_iter().map(|(_, block)| block), &heap);
    assert!(heap.slab_bytes() < 2_000_000, "{}", heap.slab_bytes());
    heap.give_back();
    assert!(heap.slab_bytes() < 700_000, "{}", heap.slab_bytes());
    let again: Vec<Block> = (0..100_000).map(|number| Block::new(&heap, 16 + number % 500, 8, 9)).collect();
    assert!(heap.slab_bytes() <= most + 700_000, "what was given back is used again");
    free_all(again, &heap);
    free_all(stay.into_iter().map(|(_, block)| block), &heap);
}

#[test]
fn zeroed_memory_is_zero_also_where_something_was() {
    let heap = Heap::new();
    for size in [1, 100, 5000, 32_768, 32_769, 1_000_000] {
        Block::new(&heap, size, 8, 0xff).free(&heap);
        let layout = Layout::from_size_align(size, 8).unwrap();
        let block = unsafe { heap.alloc_zeroed(layout) };
        Block { at: block, layout, mark: 0 }.free(&heap);
    }
}

#[test]
fn several_threads_share_one_heap() {
    static HEAP: Heap = Heap::new();
    let heap = &HEAP;
    let threads: Vec<_> = (0..4_u8)
        .map(|mark| {
            std::thread::spawn(move || {
                let mut held = Vec::new();
                for number in 0..20_000_usize {
                    held.push(Block::new(heap, 1 + number * 37 % 3000, 8, mark));
                    if held.len() > 100 {
                        held.swap_remove(number % 100).free(heap);
                    }
                }
                free_all(held, heap);
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
    heap.give_back();
    assert_eq!(heap.slab_bytes(), 0);
}

#[test]
fn no_memory_is_no_end() {
    let heap = Heap::new();
    let too_much = Layout::from_size_align(isize::MAX as usize - 7, 8).unwrap();
    assert!(unsafe { heap.alloc(too_much) }.is_null());
    let block = Block::new(&heap, 100_000, 8, 1);
    assert!(unsafe { heap.realloc(block.at, block.layout, too_much.size()) }.is_null());
    block.free(&heap);
}

#[test]
fn what_a_thing_takes_is_told() {
    assert_eq!([0, 1, 16, 17, 129, 32_768, 32_769].map(taken_by), [0, 16, 16, 32, 160, 32_768, 36_864]);
}
