//! HTTP/1.1 for a small server: what GET and HEAD ask for, and what is answered
//! (RFC 9110 and 9112).
//!
//! - [`request`]: the head of a request, found in the bytes of a connection.
//! - [`host`]: whether a request means this server at all.
//! - [`select`]: which part of a file is asked for, if any: ranges and conditions.
//! - [`path`]: names in a URL, and in the headers about a file.
//! - [`response`]: the head of an answer.
//! - [`multipart`]: pictures that replace each other.
//! - [`events`]: server-sent events.
//! - [`metrics`]: figures for Prometheus.

pub mod events;
pub mod host;
pub mod metrics;
pub mod multipart;
pub mod path;
pub mod request;
pub mod response;
pub mod select;

/// The status of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 9110 and 6585")]
pub enum Status {
    Ok,
    PartialContent,
    NotModified,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    UriTooLong,
    RangeNotSatisfiable,
    MisdirectedRequest,
    RequestHeaderFieldsTooLarge,
    InternalServerError,
    ServiceUnavailable,
    HttpVersionNotSupported,
}

impl Status {
    /// The number and its name, as the first line of an answer has them.
    pub fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::PartialContent => "206 Partial Content",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Status::MisdirectedRequest => "421 Misdirected Request",
            Status::RequestHeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Status::InternalServerError => "500 Internal Server Error",
            Status::ServiceUnavailable => "503 Service Unavailable",
            Status::HttpVersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The number alone.
    pub fn code(self) -> u16 {
        self.line()[..3].parse().unwrap_or(500)
    }
}
