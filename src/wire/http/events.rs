//! Server-sent events: messages to a page in one endless answer, in the format of
//! `EventSource`.

/// The `Content-Type` of the answer.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// A line that no page sees. Sent now and then, it shows whether the peer is still there.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// Appends an event. `name` is what the page listens for and must be a single word; the
/// lines of `data` arrive with LF between them, whatever their line ends.
pub fn write(name: &str, data: &str, out: &mut Vec<u8>) {
    debug_assert!(!name.contains(char::is_whitespace), "{name:?}");
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    let lines = data.split_inclusive('\n').flat_map(|line| {
        let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        line.split('\r')
    });
    let mut is_empty = true;
    for line in lines {
        is_empty = false;
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(line.as_bytes());
    }
    if is_empty {
        // Without data there is no event.
        out.extend_from_slice(b"\ndata:");
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> String {
        let mut out = Vec::new();
        write("figures", data, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_of_data_is_a_line_of_the_event() {
        assert_eq!(event("{\"a\": 1}"), "event: figures\ndata: {\"a\": 1}\n\n");
        assert_eq!(
            event("가\r\n나\r다\n\n라"),
            "event: figures\ndata: 가\ndata: 나\ndata: 다\ndata: \ndata: 라\n\n"
        );
        assert_eq!(event(""), "event: figures\ndata:\n\n");
    }

    #[test]
    fn data_cannot_begin_another_event() {
        for data in ["a\n\nevent: b", "a\r\revent: b", "a\r\n\r\nevent: b"] {
            let event = event(data);
            assert!(
                event.trim_end_matches('\n').lines().skip(1).all(|line| line.starts_with("data: ")),
                "{event:?}"
            );
        }
    }
}
