//! Reads and writes pictures as the course's programs send them: a numpy array in
//! Python's pickle format.
//!
//! A pickle is a program for a small stack machine, and `pickle.loads` calls whatever
//! that program names. [`recognize`] calls nothing. It follows only the instructions
//! that numpy writes for an array of `uint8`, refuses everything else with a reason,
//! and returns where the pixels are. [`write`] makes the shortest pickle that numpy 1
//! and 2 load into a writable array.

mod machine;
#[cfg(test)]
mod tests;

use std::fmt;

use machine::Machine;

/// An array of bytes in two or three dimensions, borrowed from the pickle it was found
/// in. `data` is as long as the dimensions say, and none of them is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    /// The elements, in the order that `order` tells.
    pub data: &'a [u8],
    /// The first dimension: rows.
    pub height: usize,
    /// The second dimension: pixels per row.
    pub width: usize,
    /// The third dimension: bytes per pixel. 1 if the array has only two.
    pub channels: usize,
    /// Which dimension varies fastest.
    pub order: Order,
}

impl Array<'_> {
    /// The byte at these coordinates, which must be within the dimensions.
    pub fn element(&self, row: usize, column: usize, channel: usize) -> u8 {
        self.data[match self.order {
            Order::RowMajor => (row * self.width + column) * self.channels + channel,
            Order::ColumnMajor => row + self.height * (column + self.width * channel),
        }]
    }
}

/// How the elements of an array are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The last dimension varies fastest, as in C.
    RowMajor,
    /// The first dimension varies fastest, as in Fortran.
    ColumnMajor,
}

/// The reason why a pickle is not taken for a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The first byte is not that of a pickle of protocol 2 or later.
    NotAPickle,
    /// The protocol is too old (2 and below carry bytes as text) or unknown.
    Protocol(u8),
    /// The pickle ends in the middle of an instruction or before STOP.
    EndsEarly,
    /// Bytes follow the end of the pickle.
    EndsLate,
    /// An instruction that numpy does not write for an array.
    Instruction {
        /// The opcode.
        opcode: u8,
        /// Its position.
        at: usize,
    },
    /// The instructions do not fit together as numpy writes them.
    Structure {
        /// The position of the first instruction that does not fit.
        at: usize,
    },
    /// It names a function or class that has no part in an array.
    Names(String),
    /// An array of something else than `uint8`, by numpy's code for it.
    ElementType(String),
    /// The array does not have two or three dimensions, or one of them is 0.
    Dimensions,
    /// The array is larger than allowed.
    TooLarge {
        /// The bytes that its dimensions announce.
        bytes: u64,
        /// The most that is allowed.
        limit: usize,
    },
    /// The dimensions and the number of elements disagree.
    Length {
        /// The bytes that the dimensions announce.
        announced: usize,
        /// The bytes in the pickle.
        present: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotAPickle => write!(f, "it does not begin as a pickle does"),
            Refusal::Protocol(number @ 0..=2) => write!(
                f,
                "pickle protocol {number} carries the pixels as text: use pickle.dumps(frame) or protocol 3 to 5"
            ),
            Refusal::Protocol(number) => {
                write!(f, "pickle protocol {number} is unknown: use protocol 3 to 5")
            }
            Refusal::EndsEarly => write!(f, "the pickle ends early"),
            Refusal::EndsLate => write!(f, "bytes follow the end of the pickle"),
            Refusal::Instruction { opcode, at } => {
                write!(f, "the pickle is no plain array: it has the instruction 0x{opcode:02x} at byte {at}")
            }
            Refusal::Structure { at } => {
                write!(f, "the pickle is no plain array: byte {at} is not what numpy writes there")
            }
            Refusal::Names(what) => {
                write!(f, "the pickle names {what}, and only a plain numpy array is taken")
            }
            Refusal::ElementType(code) => {
                write!(f, "the array is of type {code}, and only uint8 is taken: use frame.astype('uint8')")
            }
            Refusal::Dimensions => write!(f, "the array is not height × width or height × width × channels"),
            Refusal::TooLarge { bytes, limit } => {
                write!(f, "the array has {bytes} bytes, and at most {limit} are allowed")
            }
            Refusal::Length { announced, present } => {
                write!(f, "the array's dimensions ask for {announced} bytes, and the pickle has {present}")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Finds the array in a pickle that holds one of `uint8` and nothing else. Takes what
/// numpy 1 and 2 write at protocols 3 to 5, and what [`write`] writes.
///
/// Copies no pixels; `max_bytes` limits the array. Time and memory do not depend on
/// the size of the pickle.
pub fn recognize(pickle: &[u8], max_bytes: usize) -> Result<Array<'_>, Refusal> {
    Machine::new(pickle, max_bytes).run()
}

/// What [`write`] writes in front of the data.
const HEAD: &[u8; 44] = b"\x80\x05\
    \x8c\x05numpy\x8c\x07ndarray\x93\
    M\0\0M\0\0K\x03\x87\
    \x8c\x05uint8\
    \x96\0\0\0\0\0\0\0\0";
const HEIGHT_AT: usize = 20;
const WIDTH_AT: usize = 23;
const LENGTH_AT: usize = 36;

/// What [`write`] writes behind the data: a tuple of three, the call, the end.
const TAIL: &[u8; 3] = b"\x87R.";

/// How many bytes [`write()`] writes in front of the data.
pub const HEAD_LENGTH: usize = HEAD.len();

/// How many bytes [`write()`] writes behind the data.
pub const TAIL_LENGTH: usize = TAIL.len();

/// How many bytes [`write`] writes besides the data.
pub const OVERHEAD: usize = HEAD_LENGTH + TAIL_LENGTH;

/// Appends the pickle of an array of `height` × `width` × 3 bytes in row-major order.
/// `numpy.ndarray` is called on a `bytearray`, so whoever loads it may write to it.
///
/// ```
/// use onepoll::wire::pickle;
///
/// let mut out = Vec::new();
/// pickle::write(1, 2, &[255, 0, 0, 0, 0, 255], &mut out);
/// assert_eq!(out.len(), pickle::OVERHEAD + 6);
/// let array = pickle::recognize(&out, 6).unwrap();
/// assert_eq!((array.height, array.width, array.channels), (1, 2, 3));
/// assert_eq!(array.data, [255, 0, 0, 0, 0, 255]);
/// ```
pub fn write(height: u16, width: u16, bgr: &[u8], out: &mut Vec<u8>) {
    debug_assert_eq!(bgr.len(), usize::from(height) * usize::from(width) * 3);
    let mut head = *HEAD;
    head[HEIGHT_AT..][..2].copy_from_slice(&height.to_le_bytes());
    head[WIDTH_AT..][..2].copy_from_slice(&width.to_le_bytes());
    head[LENGTH_AT..].copy_from_slice(&(bgr.len() as u64).to_le_bytes());
    out.reserve(OVERHEAD + bgr.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(bgr);
    out.extend_from_slice(TAIL);
}
