//! Draws pictures as text, for terminals with 24-bit colours: each cell shows two
//! pixels, one above the other, as the background and the foreground of `▄`.

use std::fmt::Write;

use super::Picture;

/// Appends a picture to `out` as lines of half blocks that fit in `columns` × `rows`
/// cells, and keeps its proportions. Each line ends by resetting the colours and with
/// CR LF, so that it also comes out right in raw mode.
pub fn half_blocks(picture: &Picture, columns: u16, rows: u16, out: &mut String) {
    let (width, height) = fit(picture.width(), picture.height(), columns, rows.saturating_mul(2));
    let picture = scale(picture, width, height);
    for row in (0..height).step_by(2) {
        let mut colours = None;
        for column in 0..width {
            let upper = picture.pixel(column, row);
            let lower = if row + 1 < height { picture.pixel(column, row + 1) } else { [0; 3] };
            // A cell in the colours of its neighbour needs no code.
            if colours != Some((upper, lower)) {
                let ([b, g, r], [b2, g2, r2]) = (upper, lower);
                let _ = write!(out, "\x1b[48;2;{r};{g};{b};38;2;{r2};{g2};{b2}m");
                colours = Some((upper, lower));
            }
            out.push('▄');
        }
        out.push_str("\x1b[0m\r\n");
    }
}

/// The largest size with these proportions that fits; at least 1 × 1.
fn fit(width: u16, height: u16, max_width: u16, max_height: u16) -> (u16, u16) {
    let [width, height, max_width, max_height] =
        [width, height, max_width, max_height].map(|n| u64::from(n.max(1)));
    let (width, height) = if width * max_height > height * max_width {
        (max_width, height * max_width / width)
    } else {
        (width * max_height / height, max_height)
    };
    (width.max(1) as u16, height.max(1) as u16)
}

/// Scales a picture: a pixel becomes the average of those that it stands for.
pub fn scale(picture: &Picture, width: u16, height: u16) -> Picture {
    let (width, height) = (width.max(1), height.max(1));
    let columns: Vec<_> = (0..width).map(|column| share(column, width, picture.width())).collect();
    let mut bgr = Vec::with_capacity(super::bytes(width, height));
    for row in 0..height {
        let rows = share(row, height, picture.height());
        for columns in &columns {
            let mut sum = [0u64; 3];
            for row in rows.clone() {
                for column in columns.clone() {
                    let pixel = picture.pixel(column, row);
                    sum.iter_mut().zip(pixel).for_each(|(sum, part)| *sum += u64::from(part));
                }
            }
            let count = rows.len() as u64 * columns.len() as u64;
            bgr.extend_from_slice(&sum.map(|sum| (sum / count) as u8));
        }
    }
    Picture { width, height, bgr }
}

/// Which of `whole` pixels the one at `place` of `parts` stands for; at least one.
fn share(place: u16, parts: u16, whole: u16) -> std::ops::Range<u16> {
    let edge = |place: u32| (place * u32::from(whole) / u32::from(parts)) as u16;
    let start = edge(u32::from(place));
    start..edge(u32::from(place) + 1).max(start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_of_pixels_become_one_line() {
        let picture = Picture::new(2, 2, vec![1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]).unwrap();
        let mut out = String::new();
        half_blocks(&picture, 2, 1, &mut out);
        assert_eq!(out, "\x1b[48;2;3;2;1;38;2;6;5;4m▄▄\x1b[0m\r\n");
    }

    #[test]
    fn a_picture_fits_its_place_and_keeps_its_proportions() {
        assert_eq!(fit(640, 480, 80, 48), (64, 48));
        assert_eq!(fit(640, 480, 40, 48), (40, 30));
        assert_eq!(fit(2, 1, 80, 48), (80, 40));
        assert_eq!(fit(u16::MAX, 1, 80, 48), (80, 1));
        assert_eq!(fit(1, u16::MAX, 0, 0), (1, 1));
    }

    #[test]
    fn scaling_averages_what_a_pixel_stands_for() {
        let picture = Picture::new(4, 1, vec![0, 0, 0, 2, 4, 6, 10, 10, 10, 20, 20, 20]).unwrap();
        assert_eq!(scale(&picture, 2, 1).bgr(), [1, 2, 3, 15, 15, 15]);
        assert_eq!(scale(&picture, 4, 2).bgr(), picture.bgr().repeat(2));
        assert_eq!(scale(&picture, 8, 1).pixel(7, 0), [20, 20, 20]);
        assert_eq!(scale(&Picture::black(3, 5), 2, 3).bgr(), [0; 18]);
    }

    #[test]
    fn an_odd_number_of_rows_ends_in_half_a_line() {
        let mut out = String::new();
        half_blocks(&Picture::new(1, 3, vec![9; 9]).unwrap(), 10, 2, &mut out);
        assert_eq!(out.lines().count(), 2);
    }
}
