//! Frames of the course's video programs on TCP: eight bytes of length, the least
//! significant first (Python's `struct.pack("Q", n)`), and then the frame itself,
//! which is a JPEG or a pickle.

use std::fmt;

/// How many bytes announce the length of a frame.
pub const PREFIX: usize = 8;

/// What is sent in front of a frame of `length` bytes.
pub fn prefix(length: usize) -> [u8; PREFIX] {
    (length as u64).to_le_bytes()
}

/// A frame that announces more bytes than are allowed. Nobody knows where the next
/// one begins, so the connection should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// The length that was announced.
    pub announced: u64,
    /// The most that is allowed.
    pub limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong { announced, limit } = self;
        write!(f, "a frame announces {announced} bytes, and at most {limit} are allowed")
    }
}

impl std::error::Error for TooLong {}

/// Finds the frames in the input of one connection.
///
/// Call [`next`](Self::next) with the new input, minus what is consumed, until it
/// returns no frame. An unfinished frame is collected in a buffer that grows with the
/// bytes received, and never with the length announced.
///
/// ```
/// use onepoll::wire::frames::FrameReader;
///
/// let mut reader = FrameReader::default();
/// let input = b"\x02\0\0\0\0\0\0\0hi\x03\0";
/// assert_eq!(reader.next(input, 1024), Ok((10, Some(b"hi".to_vec()))));
/// assert_eq!(reader.next(&input[10..], 1024), Ok((2, None)));
/// ```
#[derive(Debug, Default)]
pub struct FrameReader {
    prefix: [u8; PREFIX],
    prefix_read: usize,
    /// What has arrived of a frame whose length is known.
    frame: Vec<u8>,
}

impl FrameReader {
    /// Takes the next frame from the front of `input` and returns how many bytes of it
    /// are consumed: all of them if there is no frame yet. A frame may be `max_bytes`
    /// long.
    pub fn next(&mut self, input: &[u8], max_bytes: usize) -> Result<(usize, Option<Vec<u8>>), TooLong> {
        let of_prefix = input.len().min(PREFIX - self.prefix_read);
        self.prefix[self.prefix_read..][..of_prefix].copy_from_slice(&input[..of_prefix]);
        self.prefix_read += of_prefix;
        if self.prefix_read < PREFIX {
            return Ok((of_prefix, None));
        }
        let announced = u64::from_le_bytes(self.prefix);
        if announced > max_bytes as u64 {
            return Err(TooLong { announced, limit: max_bytes });
        }
        let length = announced as usize;
        let of_frame = (input.len() - of_prefix).min(length - self.frame.len());
        append(&mut self.frame, &input[of_prefix..][..of_frame], length);
        let used = of_prefix + of_frame;
        if self.frame.len() < length {
            return Ok((used, None));
        }
        self.prefix_read = 0;
        Ok((used, Some(std::mem::take(&mut self.frame))))
    }

    /// Whether a frame has begun and not ended.
    pub fn is_in_frame(&self) -> bool {
        self.prefix_read > 0
    }

    /// How many bytes an unfinished frame takes up.
    pub fn held(&self) -> usize {
        self.frame.capacity()
    }
}

/// Appends to a frame that will be `length` bytes long. The buffer at least doubles when
/// it grows, so a frame in many pieces is not copied over and over, but it never takes
/// more than twice what has arrived, nor more than the frame.
pub(super) fn append(frame: &mut Vec<u8>, piece: &[u8], length: usize) {
    let needed = frame.len() + piece.len();
    if needed > frame.capacity() {
        let roomy = needed.max(frame.len() * 2).min(length);
        frame.reserve_exact(roomy - frame.len());
    }
    frame.extend_from_slice(piece);
}

/// What a frame holds, by its first and last bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A JPEG, from its start marker (SOI) to its end marker (EOI). What is between is
    /// not looked at.
    Jpeg,
    /// A pickle of protocol 2 or later; [`pickle::recognize`](super::pickle::recognize)
    /// tells whether it is a picture.
    Pickle,
}

/// The reason why a frame is neither a JPEG nor a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAFrame {
    /// There is nothing in it.
    Empty,
    /// It begins as a JPEG does, and does not end as one.
    JpegWithoutEnd,
    /// It begins as neither does.
    Unknown,
}

impl fmt::Display for NotAFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAFrame::Empty => "the frame is empty",
            NotAFrame::JpegWithoutEnd => "the frame begins as a JPEG and lacks its end marker (FF D9)",
            NotAFrame::Unknown => "the frame is neither a JPEG nor a pickle of protocol 2 or later",
        })
    }
}

impl std::error::Error for NotAFrame {}

/// Tells JPEGs from pickles.
pub fn kind(frame: &[u8]) -> Result<FrameKind, NotAFrame> {
    match frame {
        [] => Err(NotAFrame::Empty),
        [0xFF, 0xD8, .., 0xFF, 0xD9] => Ok(FrameKind::Jpeg),
        [0xFF, 0xD8, ..] => Err(NotAFrame::JpegWithoutEnd),
        [0x80, ..] => Ok(FrameKind::Pickle),
        _ => Err(NotAFrame::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream_of(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| [&prefix(frame.len())[..], frame].concat()).collect()
    }

    /// Reads a stream that arrives in pieces.
    fn read(pieces: &[&[u8]], max_bytes: usize) -> Result<(Vec<Vec<u8>>, FrameReader), TooLong> {
        let (mut reader, mut frames, mut received) = (FrameReader::default(), Vec::new(), 0);
        for mut piece in pieces.iter().copied() {
            received += piece.len();
            loop {
                let (used, frame) = reader.next(piece, max_bytes)?;
                piece = &piece[used..];
                assert!(reader.held() <= 2 * received, "holds {} of {received}", reader.held());
                match frame {
                    Some(frame) => frames.push(frame),
                    None => break,
                }
            }
            assert!(piece.is_empty());
        }
        Ok((frames, reader))
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_reserved() {
        let mut reader = FrameReader::default();
        let too_long = TooLong { announced: u64::MAX, limit: 1000 };
        assert_eq!(reader.next(&[0xFF; 100], 1000), Err(too_long));
        assert_eq!(reader.held(), 0);
        assert!(read(&[&prefix(1000)], 1000).is_ok());
        assert_eq!(read(&[&prefix(1001)], 1000).unwrap_err().announced, 1001);
    }

    #[test]
    fn an_announced_frame_takes_no_memory_until_it_arrives() {
        let (frames, reader) = read(&[&prefix(1 << 20), b"a"], 1 << 20).unwrap();
        assert!(frames.is_empty() && reader.is_in_frame() && reader.held() < 16);
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        let (frames, reader) = read(&[&prefix(0), &prefix(0)], 10).unwrap();
        assert_eq!(frames, [b"", b""]);
        assert!(!reader.is_in_frame());
    }

    #[test]
    fn frames_are_told_apart_by_their_first_and_last_bytes() {
        assert_eq!(kind(b"\xFF\xD8...\xFF\xD9"), Ok(FrameKind::Jpeg));
        assert_eq!(kind(b"\xFF\xD8\xFF\xD9"), Ok(FrameKind::Jpeg));
        assert_eq!(kind(b"\xFF\xD8\xD9"), Err(NotAFrame::JpegWithoutEnd));
        assert_eq!(kind(b"\xFF\xD8\xFF\xD9\0"), Err(NotAFrame::JpegWithoutEnd));
        assert_eq!(kind(b"\x80\x04\x95"), Ok(FrameKind::Pickle));
        assert_eq!(kind(b"\x89PNG"), Err(NotAFrame::Unknown));
        assert_eq!(kind(b""), Err(NotAFrame::Empty));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let stream = stream_of(&frames);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let (found, reader) = read(&pieces, 40).unwrap();
            prop_assert_eq!(found, frames);
            prop_assert!(!reader.is_in_frame());
        }
    }
}
