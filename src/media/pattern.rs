//! The test picture: coloured bars that move, with the number of the frame and the time
//! of day, so that anyone can see whether frames are lost or late.

use super::Picture;

/// The colours of the bars, as blue, green and red: those of a television test card.
const BARS: [[u8; 3]; 8] = [
    [235, 235, 235],
    [16, 235, 235],
    [235, 235, 16],
    [16, 235, 16],
    [235, 16, 235],
    [16, 16, 235],
    [235, 16, 16],
    [16, 16, 16],
];

/// How long the bars take to cross the picture.
const CROSSING_SECONDS: u64 = 8;

const INK: [u8; 3] = [255, 255, 255];
const PAPER: [u8; 3] = [0, 0, 0];

/// Draws the frames of the test picture.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    width: u16,
    height: u16,
    frames_per_second: u32,
}

impl Pattern {
    /// A test picture of this size. Its bars move at the same speed at any rate.
    pub fn new(width: u16, height: u16, frames_per_second: u32) -> Pattern {
        Pattern { width, height, frames_per_second }
    }

    /// Draws a frame, with its number and, below it, the text of `clock`. Digits, space
    /// and `:.-` can be drawn; any other character is left blank.
    pub fn draw(&self, frame: u64, clock: &str) -> Picture {
        let mut picture = Picture::black(self.width, self.height);
        let (width, height) = (usize::from(picture.width()), usize::from(picture.height()));
        let crossing = CROSSING_SECONDS * u64::from(self.frames_per_second.max(1));
        let shift = ((frame % crossing) * width as u64 / crossing) as usize;
        let row: Vec<u8> =
            (0..width).flat_map(|column| BARS[(column + shift) % width * BARS.len() / width]).collect();
        picture.bgr.chunks_exact_mut(row.len()).for_each(|place| place.copy_from_slice(&row));

        let number = frame.to_string();
        let longest = number.len().max(clock.len()).max(12);
        // Three quarters of the width for the longer line.
        let scale = (width * 3 / 4 / (longest * ADVANCE)).max(1);
        let line = (GLYPH_HEIGHT + 3) * scale;
        let top = height.saturating_sub(2 * line + line / 2);
        let left = 2 * scale;
        let right = left + (longest * ADVANCE + 1) * scale;
        picture.fill(left..right, top..top + 2 * line, PAPER);
        for (text, top) in [(&number[..], top), (clock, top + line)] {
            write(&mut picture, text, left + scale, top + 2 * scale, scale);
        }
        picture
    }
}

const GLYPH_WIDTH: usize = 5;
const GLYPH_HEIGHT: usize = 7;
const ADVANCE: usize = GLYPH_WIDTH + 1;

/// Draws text whose pixels are `scale` wide and high.
fn write(picture: &mut Picture, text: &str, left: usize, top: usize, scale: usize) {
    for (place, character) in text.chars().enumerate() {
        for (row, bits) in glyph(character).into_iter().enumerate() {
            for column in 0..GLYPH_WIDTH {
                if bits >> (GLYPH_WIDTH - 1 - column) & 1 == 1 {
                    let x = left + (place * ADVANCE + column) * scale;
                    let y = top + row * scale;
                    picture.fill(x..x + scale, y..y + scale, INK);
                }
            }
        }
    }
}

/// The rows of a character, one bit per pixel.
fn glyph(character: char) -> [u8; GLYPH_HEIGHT] {
    match character {
        '0' => [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111],
        '3' => [0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110],
        '4' => [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        '6' => [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
        '7' => [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
        '8' => [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
        '9' => [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
        ':' => [0b00000, 0b00100, 0b00100, 0b00000, 0b00100, 0b00100, 0b00000],
        '.' => [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b00110, 0b00110],
        '-' => [0b00000, 0b00000, 0b00000, 0b11111, 0b00000, 0b00000, 0b00000],
        _ => [0; GLYPH_HEIGHT],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the picture says at its bottom left, read by its glyphs.
    fn text(picture: &Picture, scale: usize, line_from_bottom: usize, length: usize) -> String {
        let line = (GLYPH_HEIGHT + 3) * scale;
        let top = usize::from(picture.height()) - (2 * line + line / 2) + line_from_bottom * line + 2 * scale;
        let read = |place: usize| {
            let bits = |row: usize| {
                (0..GLYPH_WIDTH).fold(0, |bits, column| {
                    let (x, y) = (3 * scale + (place * ADVANCE + column) * scale, top + row * scale);
                    bits << 1 | u8::from(picture.pixel(x as u16, y as u16) == INK)
                })
            };
            let rows: [u8; GLYPH_HEIGHT] = std::array::from_fn(bits);
            " 0123456789:.-".chars().find(|character| glyph(*character) == rows).unwrap_or('?')
        };
        (0..length).map(read).collect()
    }

    #[test]
    fn the_frame_number_and_the_clock_can_be_read() {
        let picture = Pattern::new(640, 480, 25).draw(1_234_567_890, "22:41:05.917");
        assert_eq!((picture.width(), picture.height()), (640, 480));
        assert_eq!(text(&picture, 6, 0, 12), "1234567890  ");
        assert_eq!(text(&picture, 6, 1, 12), "22:41:05.917");
    }

    #[test]
    fn the_bars_move_one_width_in_eight_seconds_at_any_rate() {
        for rate in [10, 25] {
            let pattern = Pattern::new(80, 60, rate);
            let first = |frame| pattern.draw(frame, "").pixel(0, 0);
            assert_eq!(first(0), BARS[0]);
            assert_eq!(first(u64::from(rate)), BARS[1]);
            assert_eq!(first(u64::from(rate) * 8), BARS[0]);
        }
    }

    #[test]
    fn every_size_and_number_can_be_drawn() {
        for (width, height) in [(0, 0), (1, 1), (7, 3), (3, 200), (300, 2)] {
            for frame in [0, u64::MAX] {
                let picture = Pattern::new(width, height, 0).draw(frame, "한글 12:34");
                assert_eq!((picture.width(), picture.height()), (width.max(1), height.max(1)));
            }
        }
    }
}
