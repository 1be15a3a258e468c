//! Recordings: Motion JPEG in a fragmented MP4 file (ISO/IEC 14496-12).
//!
//! The head of the file says what the track is and holds no frame. Each frame then is a
//! fragment of its own, a `moof` box that describes it and an `mdat` box with the
//! JPEG as it came. So nothing has to be written at the end, and a file that was cut
//! anywhere plays up to its last whole frame.

use std::time::Duration;

use bytes::Bytes;

/// Units of time per second, as usual for video: whole for 24, 25, 30, 50 and 60 frames
/// per second.
const TIMESCALE: u32 = 90_000;

/// How long the only frame of a recording is shown.
const SINGLE_FRAME: u32 = TIMESCALE / 25;

const TRACK: u32 = 1;

/// How many bytes a [`Fragment`] has in front of its JPEG.
pub const FRAGMENT_HEAD: usize = 104;

/// The start of a file whose frames have this size.
pub fn head(width: u16, height: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(640);
    boxed(&mut out, b"ftyp", |out| {
        out.extend_from_slice(b"isom\0\0\x02\0isomiso6qt  ");
    });
    boxed(&mut out, b"moov", |out| {
        full_box(out, b"mvhd", 0, |out| {
            put32(out, &[0, 0, TIMESCALE, 0, 0x0001_0000]); // created, modified, timescale, duration, rate
            zeros(out, 2 + 10); // volume, reserved
            put32(out, &MATRIX);
            zeros(out, 6 * 4);
            put32(out, &[TRACK + 1]); // the next track
        });
        boxed(out, b"trak", |out| track(out, width, height));
        boxed(out, b"mvex", |out| {
            full_box(out, b"trex", 0, |out| put32(out, &[TRACK, 1, 0, 0, 0])); // no defaults
        });
    });
    out
}

/// No rotation, no scaling.
const MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

fn track(out: &mut Vec<u8>, width: u16, height: u16) {
    const ENABLED_IN_MOVIE: u32 = 3;
    full_box(out, b"tkhd", ENABLED_IN_MOVIE, |out| {
        put32(out, &[0, 0, TRACK, 0, 0]); // created, modified, number, reserved, duration
        zeros(out, 8 + 2 + 2 + 2 + 2); // reserved, layer, group, volume, reserved
        put32(out, &MATRIX);
        put32(out, &[u32::from(width) << 16, u32::from(height) << 16]);
    });
    boxed(out, b"mdia", |out| {
        full_box(out, b"mdhd", 0, |out| {
            put32(out, &[0, 0, TIMESCALE, 0]);
            out.extend_from_slice(&[0x55, 0xC4, 0, 0]); // language: undetermined
        });
        full_box(out, b"hdlr", 0, |out| {
            out.extend_from_slice(b"\0\0\0\0vide");
            zeros(out, 12);
            out.extend_from_slice(b"video\0");
        });
        boxed(out, b"minf", |out| {
            full_box(out, b"vmhd", 1, |out| zeros(out, 8));
            boxed(out, b"dinf", |out| {
                full_box(out, b"dref", 0, |out| {
                    put32(out, &[1]);
                    full_box(out, b"url ", 1, |_| {}); // the data is in this file
                });
            });
            boxed(out, b"stbl", |out| {
                full_box(out, b"stsd", 0, |out| {
                    put32(out, &[1]);
                    boxed(out, b"jpeg", |out| sample_entry(out, width, height));
                });
                // The frames stand in fragments, so the tables of the head are empty.
                full_box(out, b"stts", 0, |out| put32(out, &[0]));
                full_box(out, b"stsc", 0, |out| put32(out, &[0]));
                full_box(out, b"stsz", 0, |out| put32(out, &[0, 0]));
                full_box(out, b"stco", 0, |out| put32(out, &[0]));
            });
        });
    });
}

fn sample_entry(out: &mut Vec<u8>, width: u16, height: u16) {
    const DOTS_PER_INCH: u32 = 72 << 16;
    zeros(out, 6);
    out.extend_from_slice(&[0, 1]); // where the data is: the first entry of dref
    zeros(out, 16);
    out.extend_from_slice(&width.to_be_bytes());
    out.extend_from_slice(&height.to_be_bytes());
    put32(out, &[DOTS_PER_INCH, DOTS_PER_INCH, 0]);
    out.extend_from_slice(&[0, 1]); // frames per sample
    let name = b"\x0cPhoto - JPEG"; // 12 characters
    out.extend_from_slice(name);
    zeros(out, 32 - name.len());
    out.extend_from_slice(&[0, 24, 0xFF, 0xFF]); // 24 bits per pixel, no colour table
}

/// What one frame adds to a file: `head`, and the JPEG right behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The boxes in front of the JPEG.
    pub head: [u8; FRAGMENT_HEAD],
    /// The frame as it came.
    pub jpeg: Bytes,
}

/// Turns frames into the fragments of a recording.
///
/// Write [`head`] first and then each fragment that [`frame`](Self::frame) returns. A
/// frame is shown until the next one comes, so its fragment is known only then;
/// [`finish`](Self::finish) returns that of the last one.
#[derive(Debug, Default)]
pub struct Recording {
    sequence: u32,
    /// The latest frame, and when it is shown, in units of the timescale.
    latest: Option<(Bytes, u64)>,
    /// When the first frame came.
    start: Option<Duration>,
    /// How long the frame before the latest was shown.
    duration: Option<u32>,
}

impl Recording {
    /// Takes a frame that came `at` this time by any clock that does not go backwards,
    /// and returns the fragment of the one before.
    pub fn frame(&mut self, jpeg: Bytes, at: Duration) -> Option<Fragment> {
        let start = *self.start.get_or_insert(at);
        let mut shown = units(at.saturating_sub(start));
        let fragment = self.latest.take().map(|(before, since)| {
            // Two frames at once: the second is shown one unit later.
            shown = shown.max(since + 1);
            let duration = u32::try_from(shown - since).unwrap_or(u32::MAX);
            self.duration = Some(duration);
            self.fragment(before, since, duration)
        });
        self.latest = Some((jpeg, shown));
        fragment
    }

    /// Returns the fragment of the last frame, which is shown as long as the one before.
    pub fn finish(mut self) -> Option<Fragment> {
        let (jpeg, since) = self.latest.take()?;
        let duration = self.duration.unwrap_or(SINGLE_FRAME);
        Some(self.fragment(jpeg, since, duration))
    }

    fn fragment(&mut self, jpeg: Bytes, since: u64, duration: u32) -> Fragment {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(jpeg.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(FRAGMENT_HEAD);
        boxed(&mut out, b"moof", |out| {
            full_box(out, b"mfhd", 0, |out| put32(out, &[self.sequence]));
            boxed(out, b"traf", |out| {
                const OFFSETS_FROM_MOOF: u32 = 0x02_0000;
                full_box(out, b"tfhd", OFFSETS_FROM_MOOF, |out| put32(out, &[TRACK]));
                const TIME_IN_64_BITS: u32 = 1 << 24;
                full_box(out, b"tfdt", TIME_IN_64_BITS, |out| out.extend_from_slice(&since.to_be_bytes()));
                const OFFSET_DURATION_AND_SIZE: u32 = 0x301;
                full_box(out, b"trun", OFFSET_DURATION_AND_SIZE, |out| {
                    put32(out, &[1, FRAGMENT_HEAD as u32, duration, length]);
                });
            });
        });
        put32(&mut out, &[length.saturating_add(8)]);
        out.extend_from_slice(b"mdat");
        let mut head = [0; FRAGMENT_HEAD];
        head.copy_from_slice(&out);
        Fragment { head, jpeg }
    }
}

fn units(time: Duration) -> u64 {
    (time.as_nanos() * u128::from(TIMESCALE) / 1_000_000_000) as u64
}

/// Appends a box: its length, its type and its content.
fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    zeros(out, 4);
    out.extend_from_slice(kind);
    content(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a box with flags; their topmost byte is the version.
fn full_box(out: &mut Vec<u8>, kind: &[u8; 4], flags: u32, content: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, kind, |out| {
        put32(out, &[flags]);
        content(out);
    });
}

fn put32(out: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

fn zeros(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(*bytes[at..].first_chunk().unwrap())
    }

    /// When a fragment's frame is shown, and for how long.
    fn timing(fragment: &Fragment) -> (u64, u32) {
        let head = &fragment.head;
        let decode_time = head.windows(4).position(|kind| kind == b"tfdt").unwrap() + 8;
        let run = head.windows(4).position(|kind| kind == b"trun").unwrap() + 8;
        assert_eq!(u32_at(head, run + 12) as usize, fragment.jpeg.len());
        (u64::from_be_bytes(*head[decode_time..].first_chunk().unwrap()), u32_at(head, run + 8))
    }

    #[test]
    fn boxes_are_as_long_as_they_say() {
        let mut file = head(640, 480);
        let mut recording = Recording::default();
        let frame = Bytes::from_static(b"\xFF\xD8\xFF\xD9");
        assert_eq!(recording.frame(frame.clone(), Duration::ZERO), None);
        let fragment = recording.finish().unwrap();
        file.extend_from_slice(&fragment.head);
        file.extend_from_slice(&frame);
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            kinds.push(std::str::from_utf8(&file[at + 4..at + 8]).unwrap());
            at += u32_at(&file, at) as usize;
        }
        assert_eq!(at, file.len());
        assert_eq!(kinds, ["ftyp", "moov", "moof", "mdat"]);
    }

    #[test]
    fn a_frame_is_shown_until_the_next_one_comes() {
        let mut recording = Recording::default();
        let mut timings = Vec::new();
        for at in [1000, 1040, 1040, 1100] {
            timings.extend(recording.frame(Bytes::from_static(b"jpeg"), Duration::from_millis(at)));
        }
        timings.extend(recording.finish());
        let timings: Vec<(u64, u32)> = timings.iter().map(timing).collect();
        assert_eq!(timings, [(0, 3600), (3600, 1), (3601, 5399), (9000, 5399)]);
    }

    #[test]
    fn an_empty_recording_has_no_fragment() {
        assert_eq!(Recording::default().finish(), None);
    }
}
