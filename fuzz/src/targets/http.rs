//! Requests of the web, and what of them comes back in answers.

use arbitrary::{Result, Unstructured};
use onepoll::wire::http::request::{MAX_HEAD, MAX_LINE, Parsed, Request, parse};
use onepoll::wire::http::response::ResponseHead;
use onepoll::wire::http::select::{Selection, etag, select};
use onepoll::wire::http::{Status, events, host, path};

use crate::generate::{bytes, joined, name, number, one_of};
use crate::pieces::splits;
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "http",
    check,
    generate,
    words: &[
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"http://",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"Host: ",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Range: bytes=",
        b"If-None-Match: ",
        b"If-Range: ",
        b"W/\"1-1\"",
        b"*",
        b"%2e%2e%2f",
        b"%00",
        b"%ED%95%9C",
        b"%",
        b"?",
        b"#",
        b"[::1]:8000",
        b"127.0.0.1",
        b"-",
        b",",
        b" ",
        b"\t",
        b"\0",
        b": ",
        b"\r",
    ],
    memory: Memory { fixed: 64 * 1024, per_byte: 256 },
};

fn check(input: &[u8]) {
    let whole = served(&[input]);
    for pieces in splits(input) {
        assert_eq!(served(&pieces), whole, "the split matters");
    }
    let text = String::from_utf8_lossy(input);
    cannot_leave_its_place(&text);
    let _ = host::is_ours(&text, &["lab.school.kr".to_owned()]);
}

/// What a connection reads out of input that arrives in pieces.
fn served(pieces: &[&[u8]]) -> Vec<String> {
    let (mut unread, mut served) = (Vec::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            match parse(&unread) {
                Parsed::Request(length, request) => {
                    is_sound(&unread[..length], &request);
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
        assert!(unread.len() < MAX_HEAD, "more than a head is held back");
    }
    served
}

fn is_sound(head: &[u8], request: &Request) {
    assert!(head.len() <= MAX_HEAD && head.ends_with(b"\n"));
    assert!(request.path.starts_with('/') && request.path.len() <= MAX_LINE);
    assert!(!request.path.contains(['?', '#', ' ']) && !request.path.contains(char::is_control));
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        assert!(!line.starts_with("transfer-encoding:"), "content would pass for a request");
        let length = line.strip_prefix("content-length:").map(str::trim);
        assert!(
            length.is_none_or(|length| length.bytes().all(|byte| byte == b'0')),
            "{length:?} bytes of content"
        );
    }
    if let Some(decoded) = path::decode(request.path) {
        assert!(!decoded.contains(char::is_control));
        assert_eq!(path::decode(&path::encode(&decoded)), Some(decoded));
    }
    for size in [0, 1, 1000, u64::MAX] {
        if let Selection::Part(part) = select(request, &etag(size, 1), size) {
            assert!(part.start < part.end && part.end <= size);
        }
    }
}

/// A text from elsewhere begins no header, no event and no tag of its own.
fn cannot_leave_its_place(text: &str) {
    let mut head = Vec::new();
    ResponseHead::new(&mut head, Status::Ok, "now", true).length(0);
    let lines = |head: &[u8]| head.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    let mut with = Vec::new();
    let disposition = path::attachment(text);
    assert!(disposition.is_ascii());
    ResponseHead::new(&mut with, Status::Ok, "now", true)
        .header("X", text)
        .header("Y", &disposition)
        .length(0);
    assert_eq!(lines(&with), lines(&head) + 4);

    let mut event = Vec::new();
    events::write("figures", text, &mut event);
    let event = String::from_utf8(event).expect("it was text before");
    let inner = event.strip_prefix("event: figures\n").and_then(|event| event.strip_suffix("\n\n"));
    let inner = inner.expect("one event");
    assert!(inner.split(['\n', '\r']).all(|line| line.starts_with("data:")), "{event:?}");

    let html = path::escape_html(text);
    assert!(!html.contains(['<', '>', '"', '\'']));
    assert_eq!(
        path::decode(&path::encode(text)),
        Some(text.to_owned()).filter(|text| !text.contains(char::is_control))
    );
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    joined(u, 4, |u| {
        let mut head = one_of(u, &[b"GET ", b"HEAD ", b"POST ", b"get "])?;
        head.extend(one_of(u, &[b"/", b"/files/", b"http://localhost:8000", b"*", b"/video.mjpg?x=1", b""])?);
        head.extend(match u.ratio(1, 20)? {
            true => vec![b'a'; u.int_in_range(3900..=4200)?],
            false => path::encode(&String::from_utf8_lossy(&name(u)?)).into_bytes(),
        });
        head.extend(one_of(
            u,
            &[b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/1.1\n", b" HTTP/2.0\r\n", b"\r\n"],
        )?);
        head.extend(one_of(u, &[b"Host: localhost:8000\r\n", b"Host: [::1]\r\n", b"host:a\r\n", b""])?);
        let most_headers = if u.ratio(1, 20)? { 70 } else { 4 };
        head.extend(joined(u, most_headers, header)?);
        head.extend(one_of(u, &[b"\r\n", b"\n", b"\r\n\r\n", b""])?);
        Ok(head)
    })
}

fn header(u: &mut Unstructured) -> Result<Vec<u8>> {
    let names: [&[u8]; 9] = [
        b"Range",
        b"If-Range",
        b"If-None-Match",
        b"Connection",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Host",
        b"X-Any",
        b"Cookie",
    ];
    let value = match u.int_in_range(0..=4u8)? {
        0 => format!("bytes={}-{}", number(u)?, number(u)?).into_bytes(),
        1 => number(u)?.to_string().into_bytes(),
        2 => bytes(u, 20)?,
        3 => vec![b'b'; u.int_in_range(0..=3000)?],
        _ => one_of(
            u,
            &[
                b"keep-alive",
                b"close",
                b"0",
                b"\"3e8-1\"",
                b"W/\"3e8-1\", *",
                b"bytes=-5",
                b"bytes=0-1,3-",
                b"",
            ],
        )?,
    };
    Ok([&one_of(u, &names)?[..], b": ", &value, b"\r\n"].concat())
}
