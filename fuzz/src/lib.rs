//! Fuzz targets: one per parser of onepoll that reads what a stranger sent.
//!
//! A [`Target`] checks one input and panics if a property does not hold. libFuzzer drives
//! it (`fuzz_targets/`, on nightly), and so does the driver of this crate (`main.rs`, on
//! stable). An input is what stands on the wire, so that the files in `corpus/` can be
//! read and a capture can be replayed; only `tftp_transfers` and `datagram_frames` read a
//! script of what happens.

pub mod generate;
pub mod pieces;
pub mod targets;

use arbitrary::Unstructured;
use peak_alloc::PeakAlloc;

/// Counts what is allocated: a length that a peer announces must not reserve memory.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The longest input. The longest head of an HTTP request has 8 KiB.
pub const LONGEST_INPUT: usize = 12 * 1024;

/// A parser, and what must hold for each input.
pub struct Target {
    /// What the command line calls it.
    pub name: &'static str,
    /// Checks one input; panics if a property does not hold.
    pub check: fn(&[u8]),
    /// Makes an input that is mostly right, so that it gets past the first field.
    pub generate: fn(&mut Unstructured) -> arbitrary::Result<Vec<u8>>,
    /// What is worth inserting into an input.
    pub words: &'static [&'static [u8]],
    /// The memory that the check of an input may take at most.
    pub memory: Memory,
}

/// A bound in bytes that grows with the input alone.
pub struct Memory {
    /// For an empty input.
    pub fixed: usize,
    /// For each byte of the input.
    pub per_byte: usize,
}

impl Target {
    /// Checks an input, and that this took no more memory than it may.
    pub fn run(&self, input: &[u8]) {
        let input = &input[..input.len().min(LONGEST_INPUT)];
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        (self.check)(input);
        let taken = HEAP.peak_usage().saturating_sub(before);
        let most = self.memory.fixed + self.memory.per_byte * input.len();
        assert!(
            taken <= most,
            "{} bytes of input took {taken} bytes of memory, more than {most}",
            input.len()
        );
    }
}
