//! Which part of a file a request asks for (RFC 9110, sections 13 and 14).

use std::ops::Range;

use super::request::{Method, Request};

/// What to answer for a file that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The whole file: 200.
    Whole,
    /// A part of it, which is not empty: 206.
    Part(Range<u64>),
    /// The client has it already: 304.
    NotModified,
    /// The file ends before the part that is asked for: 416.
    Unsatisfiable,
}

/// Decides what to answer for a file of `size` bytes with this `etag`, in quotes.
pub fn select(request: &Request, etag: &str, size: u64) -> Selection {
    if request.if_none_match.is_some_and(|tags| matches_any(tags, etag)) {
        return Selection::NotModified;
    }
    // A part that the client means to append to what it has must come from the same file.
    // A date does not prove that, so a condition with one does not hold.
    let same_file = request.if_range.is_none_or(|tag| tag == etag && !tag.starts_with("W/"));
    match request.range {
        Some(range) if request.method == Method::Get && same_file => part(range, size),
        _ => Selection::Whole,
    }
}

/// Makes the `ETag` of a file that changes its size or its modification time, in
/// nanoseconds, whenever its content changes.
pub fn etag(size: u64, modified: u128) -> String {
    format!("\"{size:x}-{modified:x}\"")
}

/// Whether a list of tags, as `If-None-Match` has it, contains this one; weak tags count.
fn matches_any(tags: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    tags == "*" || tags.split(',').any(|tag| opaque(tag.trim_ascii()) == opaque(etag))
}

/// What a `Range` header selects. One that is not understood selects the whole file, and
/// so does one with several ranges: both are allowed, and parts of parts need a format of
/// their own. If none of several can be satisfied, that is said.
fn part(range: &str, size: u64) -> Selection {
    let Some((unit, list)) = range.split_once('=') else { return Selection::Whole };
    if !unit.trim_ascii().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let (mut count, mut satisfiable) = (0, None);
    for item in list.split(',').map(str::trim_ascii).filter(|item| !item.is_empty()) {
        let Some(found) = byte_range(item, size) else { return Selection::Whole };
        count += 1;
        satisfiable = satisfiable.or(Some(found).filter(|found| !found.is_empty()));
    }
    match (count, satisfiable) {
        (0, _) => Selection::Whole,
        (_, None) => Selection::Unsatisfiable,
        (1, Some(part)) => Selection::Part(part),
        (_, Some(_)) => Selection::Whole,
    }
}

/// One range: `first-last`, `first-` or `-count`. `None` if it is none; an empty range if
/// the file has no such bytes.
fn byte_range(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-')?;
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(size - number(last)?.min(size)..size),
        (false, true) => Some(number(first)?.min(size)..size),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(size)..last.saturating_add(1).min(size))
        }
    }
}

/// A number in digits; one that is too large to count becomes the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Request<'_> = Request {
        method: Method::Get,
        path: "/",
        query: None,
        host: None,
        keep_alive: true,
        range: None,
        if_range: None,
        if_none_match: None,
    };

    #[test]
    fn one_range_selects_a_part() {
        for (range, expected) in [
            ("bytes=0-499", 0..500),
            ("bytes=500-999", 500..1000),
            ("bytes=500-", 500..1000),
            ("bytes=-500", 500..1000),
            ("bytes=0-0", 0..1),
            ("bytes=-1", 999..1000),
            ("bytes=900-99999999999999999999999", 900..1000),
            ("bytes=-5000", 0..1000),
            ("Bytes= 1-2 , ", 1..3),
        ] {
            assert_eq!(part(range, 1000), Selection::Part(expected), "{range}");
        }
    }

    #[test]
    fn a_range_that_is_not_understood_selects_everything() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "lines=1-2",
            "bytes=0-1,x",
            "bytes=0x1-2",
        ] {
            assert_eq!(part(range, 1000), Selection::Whole, "{range}");
        }
    }

    #[test]
    fn a_range_behind_the_end_cannot_be_satisfied() {
        for range in ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=2000-,-0"] {
            assert_eq!(part(range, 1000), Selection::Unsatisfiable, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(part("bytes=-1", 0), Selection::Unsatisfiable);
        // Of several, one is enough for the whole file.
        assert_eq!(part("bytes=2000-, 0-1", 1000), Selection::Whole);
        assert_eq!(part("bytes=0-1,5-6", 1000), Selection::Whole);
    }

    #[test]
    fn a_client_that_has_the_file_gets_nothing() {
        let etag = etag(1000, 77);
        assert_eq!(etag, "\"3e8-4d\"");
        for tags in ["*", "\"3e8-4d\"", "\"x\", W/\"3e8-4d\""] {
            let request = Request { if_none_match: Some(tags), range: Some("bytes=0-1"), ..PLAIN };
            assert_eq!(select(&request, &etag, 1000), Selection::NotModified, "{tags}");
        }
        let request = Request { if_none_match: Some("\"3e8\", 3e8-4d"), ..PLAIN };
        assert_eq!(select(&request, &etag, 1000), Selection::Whole);
    }

    #[test]
    fn a_part_is_sent_only_of_the_same_file() {
        let with = |if_range| Request { if_range, range: Some("bytes=1-2"), ..PLAIN };
        assert_eq!(select(&with(None), "\"a\"", 9), Selection::Part(1..3));
        assert_eq!(select(&with(Some("\"a\"")), "\"a\"", 9), Selection::Part(1..3));
        for other in ["\"b\"", "W/\"a\"", "Sat, 21 Nov 2026 22:00:00 GMT"] {
            assert_eq!(select(&with(Some(other)), "\"a\"", 9), Selection::Whole, "{other}");
        }
    }

    #[test]
    fn head_ignores_ranges() {
        let request = Request { method: Method::Head, range: Some("bytes=1-2"), ..PLAIN };
        assert_eq!(select(&request, "\"a\"", 9), Selection::Whole);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_lies_in_the_file(range in "(bytes=)?[0-9, -]{0,30}", size in 0..40u64) {
            if let Selection::Part(part) = part(&range, size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
