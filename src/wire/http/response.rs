//! The head of an answer.

use std::io::Write;
use std::ops::Range;

use jiff::Timestamp;

use super::Status;

/// Headers that every answer has. No page elsewhere may frame, embed or read an answer,
/// and a page of ours may load nothing from elsewhere.
const ALWAYS: &str = "X-Content-Type-Options: nosniff\r\n\
    X-Frame-Options: DENY\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n";

/// Writes the head of an answer.
///
/// Begin with [`new`](Self::new), add headers, and end with one of [`length`](Self::length),
/// [`without_length`](Self::without_length) and [`not_modified`](Self::not_modified).
#[derive(Debug)]
pub struct ResponseHead<'o> {
    out: &'o mut Vec<u8>,
    keep_alive: bool,
}

impl<'o> ResponseHead<'o> {
    /// Begins a head at the end of `out`. `date` is the time in the form of
    /// [`http_date`].
    pub fn new(out: &'o mut Vec<u8>, status: Status, date: &str, keep_alive: bool) -> ResponseHead<'o> {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.line().as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut head = ResponseHead { out, keep_alive };
        head = head.header("Date", date);
        head.out.extend_from_slice(ALWAYS.as_bytes());
        match status {
            Status::MethodNotAllowed => head.header("Allow", "GET, HEAD"),
            _ => head,
        }
    }

    /// Adds a header. Control characters in the value become spaces, so that it cannot
    /// begin a line of its own.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> ResponseHead<'o> {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend(value.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds the header that says which part of a file of `size` bytes this is, or with
    /// `None` that there is no such part.
    #[must_use]
    pub fn content_range(self, part: Option<&Range<u64>>, size: u64) -> ResponseHead<'o> {
        match part {
            Some(part) => {
                let last = part.end.saturating_sub(1);
                self.header("Content-Range", &format!("bytes {}-{last}/{size}", part.start))
            }
            None => self.header("Content-Range", &format!("bytes */{size}")),
        }
    }

    /// Ends the head of an answer with this many bytes of content.
    pub fn length(self, length: u64) {
        // Into a Vec, which takes everything.
        let _ = write!(self.out, "Content-Length: {length}\r\n");
        self.end();
    }

    /// Ends the head of an answer whose content ends with the connection.
    pub fn without_length(mut self) {
        self.keep_alive = false;
        self.end();
    }

    /// Ends the head of an answer that never has content: 304.
    pub fn not_modified(self) {
        self.end();
    }

    fn end(self) {
        let connection: &[u8] =
            if self.keep_alive { b"Connection: keep-alive\r\n\r\n" } else { b"Connection: close\r\n\r\n" };
        self.out.extend_from_slice(connection);
    }
}

/// Appends a whole answer that says what is wrong, in plain text. `with_content` is false
/// for HEAD.
pub fn write_error(
    out: &mut Vec<u8>,
    status: Status,
    date: &str,
    keep_alive: bool,
    text: &str,
    with_content: bool,
) {
    let head = ResponseHead::new(out, status, date, keep_alive);
    head.header("Content-Type", "text/plain; charset=utf-8").length(text.len() as u64 + 1);
    if with_content {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}

/// A time as HTTP writes it: `Sat, 21 Nov 2026 22:30:05 GMT`. A time out of range becomes
/// the start of 1970.
pub fn http_date(unix_seconds: i64) -> String {
    let time = Timestamp::from_second(unix_seconds).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sat, 21 Nov 2026 22:30:05 GMT";

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(i64::MAX), http_date(0));
    }

    #[test]
    fn a_head_has_its_headers_and_ends_in_an_empty_line() {
        let head = text(|out| {
            let head = ResponseHead::new(out, Status::PartialContent, DATE, true);
            head.header("Content-Type", "text/plain").content_range(Some(&(5..10)), 100).length(5);
        });
        assert!(head.starts_with(&format!("HTTP/1.1 206 Partial Content\r\nDate: {DATE}\r\n")));
        let end = "\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-9/100\r\nContent-Length: 5\r\n\
            Connection: keep-alive\r\n\r\n";
        assert!(head.ends_with(end), "{head}");
        let mut headers = [httparse::EMPTY_HEADER; 20];
        let mut parsed = httparse::Response::new(&mut headers);
        assert_eq!(parsed.parse(head.as_bytes()), Ok(httparse::Status::Complete(head.len())));
    }

    #[test]
    fn a_value_cannot_begin_a_line() {
        let head = text(|out| {
            ResponseHead::new(out, Status::Ok, DATE, false)
                .header("X", "a\r\nSet-Cookie: b")
                .without_length();
        });
        assert!(head.contains("\r\nX: a  Set-Cookie: b\r\nConnection: close\r\n\r\n"), "{head}");
    }

    #[test]
    fn errors_say_what_is_wrong_but_not_to_head() {
        let write = |with_content| {
            text(|out| {
                write_error(out, Status::MethodNotAllowed, DATE, false, "only GET and HEAD", with_content)
            })
        };
        let whole = write(true);
        assert!(
            whole.starts_with("HTTP/1.1 405 Method Not Allowed\r\n")
                && whole.contains("\r\nAllow: GET, HEAD\r\n")
        );
        assert!(
            whole.contains("\r\nContent-Length: 18\r\n") && whole.ends_with("\r\n\r\nonly GET and HEAD\n")
        );
        assert_eq!(whole.strip_suffix("only GET and HEAD\n"), Some(&write(false)[..]));
    }

    #[test]
    fn a_part_that_is_not_there_names_the_size() {
        let head = text(|out| {
            ResponseHead::new(out, Status::RangeNotSatisfiable, DATE, true).content_range(None, 7).length(0);
        });
        assert!(head.contains("\r\nContent-Range: bytes */7\r\n"));
    }

    #[test]
    fn status_lines_begin_with_their_code() {
        assert_eq!(Status::RequestHeaderFieldsTooLarge.code(), 431);
        assert_eq!(Status::HttpVersionNotSupported.line(), "505 HTTP Version Not Supported");
    }
}
