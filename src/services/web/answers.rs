//! The head that every answer begins with, and short answers as a whole.

use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;

use super::{Next, STEP};
use crate::service::{Context, Farewell};
use crate::wire::http::Status;
use crate::wire::http::request::{MAX_HEAD, MAX_HEADERS, MAX_LINE, Method, Request};
use crate::wire::http::response::{ResponseHead, http_date, write_error};

/// Writes answers, and counts them.
#[derive(Debug, Default)]
pub(super) struct Answers {
    head: Vec<u8>,
    date: String,
    /// When the date was made.
    dated: Option<Instant>,
    /// How many answers there were with each status.
    counts: Vec<(Status, u64)>,
}

impl Answers {
    /// Begins the head of an answer. Once it is ended, [`Answers::send`] sends it.
    pub fn head(&mut self, status: Status, request: &Request<'_>, cx: &Context<'_>) -> ResponseHead<'_> {
        self.prepare(status, cx);
        ResponseHead::new(&mut self.head, status, &self.date, request.keep_alive)
    }

    /// Sends the head, and content of a few KiB.
    pub fn send(&self, content: &[u8], request: &Request<'_>, cx: &mut Context<'_>) -> Next {
        cx.send(&self.head);
        if request.method == Method::Get {
            cx.send(content);
        }
        Next::Answered
    }

    /// Sends the head, and content of any length.
    pub fn send_long(&self, content: Bytes, request: &Request<'_>, cx: &mut Context<'_>) -> Next {
        if content.len() <= STEP || request.method == Method::Head {
            return self.send(&content, request, cx);
        }
        cx.send(&self.head);
        Next::Begun(content)
    }

    /// Answers with a text that is known in full.
    pub fn text(
        &mut self,
        kind: &str,
        cache: &str,
        text: &[u8],
        request: &Request<'_>,
        cx: &mut Context<'_>,
    ) -> Next {
        let head = self.head(Status::Ok, request, cx);
        head.header("Content-Type", kind).header("Cache-Control", cache).length(text.len() as u64);
        self.send(text, request, cx)
    }

    /// Says what is wrong with a request that could be read.
    pub fn error(&mut self, status: Status, why: &str, request: &Request<'_>, cx: &mut Context<'_>) -> Next {
        self.prepare(status, cx);
        let with_content = request.method == Method::Get;
        write_error(&mut self.head, status, &self.date, request.keep_alive, why, with_content);
        cx.send(&self.head);
        Next::Answered
    }

    /// Says what is wrong with bytes that are no request.
    pub fn refuse(&mut self, status: Status, cx: &mut Context<'_>) {
        self.prepare(status, cx);
        write_error(&mut self.head, status, &self.date, false, &reason(status), true);
        cx.send(&self.head);
    }

    /// How many answers there were with each status.
    pub fn counts(&self) -> &[(Status, u64)] {
        &self.counts
    }

    fn prepare(&mut self, status: Status, cx: &Context<'_>) {
        self.head.clear();
        match self.counts.iter_mut().find(|(counted, _)| *counted == status) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((status, 1)),
        }
        // Made once per second, and so from a clock that is read no oftener.
        let is_recent = |dated: Instant| cx.now().saturating_duration_since(dated) < Duration::from_secs(1);
        if !self.dated.is_some_and(is_recent) {
            let now = cx.system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.date = http_date(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
            self.dated = Some(cx.now());
        }
    }
}

fn reason(status: Status) -> String {
    match status {
        Status::MethodNotAllowed => "only GET and HEAD are served here".into(),
        Status::ContentTooLarge => "requests with content are not taken here".into(),
        Status::UriTooLong => format!("the URL is too long: a request line may have {MAX_LINE} bytes"),
        Status::RequestHeaderFieldsTooLarge => format!(
            "the head of the request is too long: it may have {MAX_HEAD} bytes and {MAX_HEADERS} headers"
        ),
        Status::HttpVersionNotSupported => "only HTTP/1.0 and HTTP/1.1 are spoken here".into(),
        _ => "this is not an HTTP/1.1 request; it needs a request line and one Host header".into(),
    }
}

/// What a client that is turned away or given up is told.
pub(super) fn farewell(why: Farewell) -> String {
    let status = match why {
        Farewell::Full | Farewell::TooManyFromPeer => Status::ServiceUnavailable,
        Farewell::MessageTimeout => Status::RequestTimeout,
        Farewell::TooLong => Status::RequestHeaderFieldsTooLarge,
        // It has asked for nothing, and a browser would take this for the answer to its
        // next request.
        Farewell::Idle => return String::new(),
    };
    let text = format!("{why}\n");
    format!(
        "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        status.line(),
        text.len()
    )
}
