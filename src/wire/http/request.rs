//! The head of a request, found in the bytes of a connection.

use super::{Status, host};

/// The longest request line, which holds the URL.
pub const MAX_LINE: usize = 4 * 1024;

/// The longest head of a request: the request line and all header lines. Browsers send
/// about 1 KiB.
pub const MAX_HEAD: usize = 8 * 1024;

/// The most header lines of a request. Browsers send about 20.
pub const MAX_HEADERS: usize = 64;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The head and the content.
    Get,
    /// The head alone, which is the same as for GET.
    Head,
}

/// A request, borrowed from the bytes it was found in. It has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it asks for.
    pub method: Method,
    /// The path as it was sent, from its `/` on, with its escapes:
    /// [`path::decode`](super::path::decode) removes them.
    pub path: &'a str,
    /// What follows the first `?` of the URL.
    pub query: Option<&'a str>,
    /// The host and port that the client means; only HTTP/1.0 may leave it out.
    pub host: Option<&'a str>,
    /// Whether the connection stays open after the answer.
    pub keep_alive: bool,
    /// The header `Range`.
    pub range: Option<&'a str>,
    /// The header `If-Range`.
    pub if_range: Option<&'a str>,
    /// The header `If-None-Match`.
    pub if_none_match: Option<&'a str>,
}

/// What [`parse`] found at the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A request, whose head takes this many bytes. Another one may follow.
    Request(usize, Request<'a>),
    /// The start of a request, or nothing. Pass it again, followed by what comes next.
    /// It is shorter than [`MAX_HEAD`].
    Incomplete,
    /// What is no request that can be served: answer with this and close, since nobody
    /// knows where the next request begins.
    Refused(Status),
}

/// Finds the request at the front of what a connection has sent and nobody has consumed.
pub fn parse(input: &[u8]) -> Parsed<'_> {
    let head = &input[..input.len().min(MAX_HEAD)];
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let outcome = request.parse(head);
    let start = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if start > MAX_LINE {
        return Parsed::Refused(Status::BadRequest);
    }
    let end = head[start..].iter().position(|byte| *byte == b'\n');
    let line = &head[start..end.map_or(head.len(), |end| start + end)];
    if line.len() > MAX_LINE {
        return Parsed::Refused(refusal_of_long_line(&line[..MAX_LINE]));
    }
    // The line, once it has arrived whole.
    let line = end.map(|_| line);
    match outcome {
        Ok(httparse::Status::Complete(length)) => match read(&request) {
            Ok(request) => Parsed::Request(length, request),
            Err(status) => Parsed::Refused(status),
        },
        Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => Parsed::Incomplete,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Parsed::Refused(Status::RequestHeaderFieldsTooLarge)
        }
        // Half of a version that is not served looks like one that is none.
        Err(httparse::Error::Version) => line.map_or(Parsed::Incomplete, |line| {
            let known = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().is_some_and(is_version);
            Parsed::Refused(if known { Status::HttpVersionNotSupported } else { Status::BadRequest })
        }),
        Err(_) => Parsed::Refused(Status::BadRequest),
    }
}

/// Says why a request line is refused that goes on after these bytes. It depends on nothing
/// behind them, since that may not have arrived.
fn refusal_of_long_line(start: &[u8]) -> Status {
    match httparse::Request::new(&mut []).parse(start) {
        // Without a space it has no URL that could be too long.
        Ok(_) | Err(httparse::Error::Version) if start.contains(&b' ') => Status::UriTooLong,
        _ => Status::BadRequest,
    }
}

/// Whether a word is a version of HTTP, served or not.
fn is_version(word: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    match word.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => is_digit(major) && is_digit(minor),
        Some([major]) => is_digit(major),
        _ => false,
    }
}

fn read<'a>(request: &httparse::Request<'_, 'a>) -> Result<Request<'a>, Status> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Status::BadRequest);
    };
    let headers = Headers(request.headers);
    let host = headers.only("Host")?;
    if minor == 1 && host.is_none() {
        return Err(Status::BadRequest);
    }
    if host.is_some_and(|host| !host::is_well_formed(host)) {
        return Err(Status::BadRequest);
    }
    check_content(&headers)?;
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return Err(Status::MethodNotAllowed),
    };
    let (named_host, path_and_query) = split_target(target)?;
    let path_and_query = path_and_query.split('#').next().unwrap_or_default();
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let close = headers.has_token("Connection", "close");
    Ok(Request {
        method,
        path: if path.is_empty() { "/" } else { path },
        query,
        host: named_host.or(host),
        keep_alive: !close && (minor == 1 || headers.has_token("Connection", "keep-alive")),
        range: headers.only("Range").unwrap_or(None),
        if_range: headers.only("If-Range").unwrap_or(None),
        if_none_match: headers.only("If-None-Match").unwrap_or(None),
    })
}

/// A request that announces content is refused: nothing here takes any, and content that
/// is left unread would be taken for the next request.
fn check_content(headers: &Headers) -> Result<(), Status> {
    let encoded = headers.all("Transfer-Encoding").next().is_some();
    match headers.only("Content-Length")? {
        None if encoded => Err(Status::ContentTooLarge),
        None => Ok(()),
        Some(_) if encoded => Err(Status::BadRequest),
        Some(length) if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(Status::BadRequest)
        }
        Some(length) if length.bytes().all(|byte| byte == b'0') => Ok(()),
        Some(_) => Err(Status::ContentTooLarge),
    }
}

/// Splits a URL into the host that it names, if any, and the rest.
fn split_target(target: &str) -> Result<(Option<&str>, &str), Status> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    // The absolute form, which proxies use and every server has to understand.
    let scheme_end = target.find("://").ok_or(Status::BadRequest)?;
    if !target[..scheme_end].eq_ignore_ascii_case("http") {
        return Err(Status::BadRequest);
    }
    let rest = &target[scheme_end + 3..];
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if host::is_well_formed(host) { Ok((Some(host), path)) } else { Err(Status::BadRequest) }
}

struct Headers<'h, 'a>(&'h [httparse::Header<'a>]);

impl<'a> Headers<'_, 'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// The value of a header that may be sent once.
    fn only(&self, name: &str) -> Result<Option<&'a str>, Status> {
        let mut values = self.all(name);
        let Some(value) = values.next() else { return Ok(None) };
        match (std::str::from_utf8(value), values.next()) {
            (Ok(value), None) => Ok(Some(value.trim_ascii())),
            _ => Err(Status::BadRequest),
        }
    }

    /// Whether a word is in the comma-separated list of a header.
    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut words = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(input: &str) -> Request<'_> {
        match parse(input.as_bytes()) {
            Parsed::Request(length, request) if length == input.len() => request,
            other => panic!("{input:?} is {other:?}"),
        }
    }

    fn refusal(input: impl AsRef<[u8]>) -> u16 {
        match parse(input.as_ref()) {
            Parsed::Refused(status) => status.code(),
            other => panic!("{:?} is {other:?}", input.as_ref().escape_ascii().to_string()),
        }
    }

    #[test]
    fn a_browser_s_request_is_read() {
        let found = request(
            "GET /files/a%20b.txt?x=1?y HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: Mozilla/5.0 (안녕)\r\n\
             Range: bytes=0-99 \r\nIf-Range: \"tag\"\r\nif-none-match: \"a\", \"b\"\r\n\r\n",
        );
        let expected = Request {
            method: Method::Get,
            path: "/files/a%20b.txt",
            query: Some("x=1?y"),
            host: Some("localhost:8000"),
            keep_alive: true,
            range: Some("bytes=0-99"),
            if_range: Some("\"tag\""),
            if_none_match: Some("\"a\", \"b\""),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_the_client_say() {
        let kept = |version: &str, connection: &str| {
            request(&format!("HEAD / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"))
                .keep_alive
        };
        assert!(kept("1.1", "upgrade"));
        assert!(!kept("1.1", "Upgrade , Close"));
        assert!(!kept("1.0", "upgrade"));
        assert!(kept("1.0", "Keep-Alive"));
        assert!(!request("GET / HTTP/1.0\r\n\r\n").keep_alive);
    }

    #[test]
    fn a_url_may_name_the_host() {
        let found = request("GET http://127.0.0.1:8000?a HTTP/1.1\r\nHost: other\r\n\r\n");
        assert_eq!((found.host, found.path, found.query), (Some("127.0.0.1:8000"), "/", Some("a")));
        let found = request("GET HTTP://[::1]/x#y HTTP/1.1\r\nHost: other\r\n\r\n");
        assert_eq!((found.host, found.path), (Some("[::1]"), "/x"));
        assert_eq!(refusal("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(refusal("GET http://me@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(refusal("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }

    #[test]
    fn only_get_and_head_are_allowed() {
        for method in ["POST", "PUT", "OPTIONS", "get", "BREW"] {
            assert_eq!(refusal(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")), 405, "{method}");
        }
    }

    #[test]
    fn every_request_says_which_host_it_means_once() {
        assert_eq!(refusal("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(refusal("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(refusal("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
        assert_eq!(request("GET / HTTP/1.0\r\n\r\n").host, None);
    }

    #[test]
    fn content_is_refused_before_it_can_pass_for_a_request() {
        let with = |headers: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
        assert_eq!(request(&with("Content-Length: 0")).path, "/");
        assert_eq!(refusal(with("Content-Length: 1")), 413);
        assert_eq!(refusal(with("Content-Length: 99999999999999999999999")), 413);
        assert_eq!(refusal(with("Transfer-Encoding: chunked")), 413);
        for wrong in [
            "Content-Length: +1",
            "Content-Length: 0, 0",
            "Content-Length:",
            "Content-Length: 0\r\nContent-Length: 5",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(refusal(with(wrong)), 400, "{wrong}");
        }
    }

    #[test]
    fn versions_other_than_1_0_and_1_1_are_told_apart_from_nonsense() {
        for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3"] {
            assert_eq!(refusal(format!("GET / {version}\r\nHost: a\r\n\r\n")), 505, "{version}");
        }
        for version in ["HTTP/1.10", "HTTP/", "http/1.1", "FTP/1.1", ""] {
            assert_eq!(refusal(format!("GET / {version}\r\nHost: a\r\n\r\n")), 400, "{version}");
        }
        assert_eq!(parse(b"GET / HTTP/2"), Parsed::Incomplete);
        // TLS to a port without it.
        assert_eq!(refusal(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400);
        assert_eq!(refusal("GET /\r\n"), 400);
    }

    #[test]
    fn headers_with_tricks_are_refused() {
        for wrong in ["Host : a", "Host: a\r\n folded: b", "X\0Y: a", "X: a\0b", ": a", "no colon"] {
            assert_eq!(refusal(format!("GET / HTTP/1.1\r\nHost: a\r\n{wrong}\r\n\r\n")), 400, "{wrong:?}");
        }
    }

    #[test]
    fn each_part_has_a_limit_whole_or_not() {
        let url = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length));
        assert_eq!(request(&url(4000)).path.len(), 4001);
        assert_eq!(refusal(url(4100)), 414);
        assert_eq!(refusal(format!("GET /{}", "a".repeat(MAX_LINE))), 414);
        assert_eq!(refusal("a".repeat(MAX_LINE + 1)), 400);
        assert!(matches!(parse(&[b'A'; MAX_LINE]), Parsed::Incomplete));

        let headers = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert_eq!(request(&headers(MAX_HEADERS - 1)).path, "/");
        assert_eq!(refusal(headers(MAX_HEADERS)), 431);
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\na: {}", "b".repeat(MAX_HEAD));
        assert_eq!(refusal(&long), 431);
        assert!(matches!(parse(&long.as_bytes()[..MAX_HEAD - 1]), Parsed::Incomplete));
        assert_eq!(refusal(b"\r\n".repeat(MAX_LINE)), 400);
    }

    #[test]
    fn a_line_that_is_wrong_and_too_long_is_refused_for_what_comes_first() {
        let wrong_method = format!("/{} x", "a".repeat(MAX_LINE));
        let wrong_url = format!("GET /\0{} x", "a".repeat(MAX_LINE));
        let wrong_version = format!("GET / HTTP{}", "a".repeat(MAX_LINE));
        for (input, status) in [(wrong_method, 400), (wrong_url, 400), (wrong_version, 414)] {
            assert_eq!(refusal(&input), status);
            let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
            assert_eq!(served(&bytes), served(&[input.as_bytes()]));
        }
    }

    #[test]
    fn empty_lines_do_not_make_a_line_longer() {
        let input = format!("\r\n\r\nGET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(MAX_LINE - 15));
        assert_eq!(request(&input).path.len(), MAX_LINE - 14);
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(served(&bytes), served(&[input.as_bytes()]));
        let many = [&b"\n".repeat(MAX_LINE + 1)[..], b"GET / HTTP/1.0\r\n\r\n"].concat();
        assert_eq!(refusal(&many), 400);
    }

    /// What a connection reads out of input that arrives in pieces.
    fn served(pieces: &[&[u8]]) -> Vec<String> {
        let (mut unread, mut served) = (Vec::new(), Vec::new());
        for piece in pieces {
            unread.extend_from_slice(piece);
            loop {
                match parse(&unread) {
                    Parsed::Request(length, request) => {
                        served.push(format!("{request:?}"));
                        unread.drain(..length);
                    }
                    Parsed::Incomplete => break,
                    Parsed::Refused(status) => {
                        served.push(format!("{status:?}"));
                        return served;
                    }
                }
            }
        }
        served
    }

    const PIPELINED: &str = "GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n\r\nHEAD /two?a=b HTTP/1.1\r\n\
        Host: [::1]:80\r\nRange: bytes=1-\r\n\r\nGET /three HTTP/1.0\r\n\r\n";

    #[test]
    fn pipelined_requests_come_out_one_by_one_at_every_split() {
        let expected = served(&[PIPELINED.as_bytes()]);
        assert_eq!(expected.len(), 3);
        for cut in 0..=PIPELINED.len() {
            let (start, end) = PIPELINED.as_bytes().split_at(cut);
            assert_eq!(served(&[start, end]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = PIPELINED.as_bytes().chunks(1).collect();
        assert_eq!(served(&single), expected);
    }

    proptest! {
        /// A refusal may come earlier, but never another answer.
        #[test]
        fn damaged_requests_are_read_alike_at_any_split(
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut stream = PIPELINED.as_bytes().to_vec();
            for (place, byte) in places {
                let place = place.index(stream.len());
                stream[place] = byte;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            prop_assert_eq!(served(&pieces), served(&[&stream]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"GET / HTTP/1.1\r\nHost: ", &bytes[..], b"\r\n\r\n"].concat());
        }
    }
}
