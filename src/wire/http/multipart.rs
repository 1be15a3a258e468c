//! Pictures that replace each other in one endless answer
//! (`multipart/x-mixed-replace`), which browsers show as a film.
//!
//! Chrome shows a part only when the boundary behind it has arrived. So the boundary is
//! sent right behind each picture, and not in front of the next one.

use std::io::Write;

/// The `Content-Type` of the answer.
pub const CONTENT_TYPE: &str = "multipart/x-mixed-replace; boundary=frame";

/// What the content begins with.
pub const START: &[u8] = b"--frame\r\n";

/// What follows each picture.
pub const PART_END: &[u8] = b"\r\n--frame\r\n";

/// Appends what stands in front of a JPEG of `length` bytes.
pub fn write_part_head(length: usize, out: &mut Vec<u8>) {
    // Into a Vec, which takes everything.
    let _ = write!(out, "Content-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_stands_right_behind_each_picture() {
        let mut out = START.to_vec();
        for picture in ["one", "two"] {
            write_part_head(picture.len(), &mut out);
            out.extend_from_slice(picture.as_bytes());
            out.extend_from_slice(PART_END);
        }
        let part = |picture| {
            format!("Content-Type: image/jpeg\r\nContent-Length: 3\r\n\r\n{picture}\r\n--frame\r\n")
        };
        assert_eq!(String::from_utf8(out).unwrap(), format!("--frame\r\n{}{}", part("one"), part("two")));
    }
}
