//! A client of the web service: it asks for pages, some of them pipelined, and checks that
//! each is answered, in order and whole.

use crate::system::simulated::Rng;

/// What it asks for, and the status that is due; `None` if that depends on what the disk
/// and the video service do.
const PAGES: [(&str, Option<&str>); 9] = [
    ("/healthz", Some("200 OK")),
    ("/", Some("200 OK")),
    ("/metrics", Some("200 OK")),
    ("/nothing", Some("404 Not Found")),
    ("/files/%00", Some("400 Bad Request")),
    ("/files/", None),
    ("/files/welcome.txt", None),
    ("/files/none", None),
    ("/snapshot.jpg", None),
];

/// What a client has asked for, and what may come back.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The status of each answer that is due, in order.
    due: Vec<Option<&'static str>>,
    /// Whether it has asked for a stream, behind which no more answers come.
    pub streams: bool,
}

impl Asked {
    /// Asks for something.
    pub fn compose(rng: &mut Rng, words: &mut Vec<u8>) {
        let path = match rng.below(40) {
            0 => "/events",
            1 => "/video.mjpg",
            _ => rng.pick(&PAGES).0,
        };
        words.extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes());
    }

    /// Notes requests that were sent.
    pub fn sent(&mut self, words: &[u8]) {
        for line in String::from_utf8_lossy(words).lines() {
            let Some(path) = line.strip_prefix("GET ").and_then(|line| line.split(' ').next()) else {
                continue;
            };
            if self.streams {
                return;
            }
            let due = PAGES.iter().find(|(page, _)| *page == path).map(|(_, status)| *status);
            self.streams = due.is_none();
            self.due.push(due.unwrap_or(Some("200 OK")));
        }
    }

    /// Checks what has come. `is_all` if nothing is in flight any more.
    pub fn check(&self, received: &[u8], is_all: bool) -> Result<(), String> {
        let mut rest = received;
        for (number, due) in self.due.iter().enumerate() {
            let is_stream = self.streams && number + 1 == self.due.len();
            let Some((head, content)) = head(rest) else {
                return match is_all {
                    true => Err(format!("{number} of {} requests were answered", self.due.len())),
                    false => Ok(()),
                };
            };
            let status = head.strip_prefix("HTTP/1.1 ").and_then(|head| head.split("\r\n").next());
            if is_farewell(head) {
                return Ok(());
            }
            if due.is_some() && status != *due {
                return Err(format!("answer {number} is {status:?} instead of {due:?}"));
            }
            if is_stream {
                return Ok(());
            }
            let length = head.split("\r\nContent-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let Some(length) = length.and_then(|length| length.parse::<usize>().ok()) else {
                return Err(format!("answer {number} has no length: {head:?}"));
            };
            if content.len() < length {
                return match is_all {
                    true => Err(format!("answer {number} has {} of {length} bytes", content.len())),
                    false => Ok(()),
                };
            }
            rest = &content[length..];
        }
        match head(rest) {
            _ if rest.is_empty() => Ok(()),
            // A farewell may follow.
            Some((head, _)) if is_farewell(head) => Ok(()),
            None if !is_all => Ok(()),
            _ => Err(format!("{} bytes came that were not asked for", rest.len())),
        }
    }
}

/// Whether a client was turned away or given up: only that is said without the date.
fn is_farewell(head: &str) -> bool {
    !head.contains("\r\nDate: ")
}

fn head(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let (head, content) = bytes.split_at(end);
    Some((std::str::from_utf8(head).ok()?, content))
}
