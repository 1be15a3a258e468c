//! Names the kinds of errors that the system reports, with one wording for each
//! wherever it is noticed.

use std::io;

use onepoll::service::CloseReason;

use crate::client::target::cause;

/// The name of an error of a connection or a socket.
pub fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused (is the server running?)".into(),
        io::ErrorKind::ConnectionReset => "reset by the server".into(),
        io::ErrorKind::BrokenPipe => "closed by the server".into(),
        io::ErrorKind::TimedOut => "timed out".into(),
        _ => cause(error),
    }
}

/// How an established connection ended; `None` if it was our own doing.
pub fn end_of_connection(why: &CloseReason) -> Option<String> {
    match why {
        CloseReason::ByUs | CloseReason::Aborted | CloseReason::ShuttingDown | CloseReason::CutOff => None,
        CloseReason::ByPeer => Some("closed by the server".into()),
        CloseReason::Reset => Some("reset by the server".into()),
        CloseReason::Failed(error) => Some(kind(error)),
        why => Some(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use nix::libc::{ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EPIPE};

    use super::*;

    #[test]
    fn an_error_has_one_name_wherever_it_was_noticed() {
        for (code, name) in [
            (ECONNREFUSED, "refused (is the server running?)"),
            (ECONNRESET, "reset by the server"),
            (EPIPE, "closed by the server"),
            (EHOSTUNREACH, "No route to host"),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(kind(&error), name);
            assert_eq!(end_of_connection(&CloseReason::Failed(error)).as_deref(), Some(name));
        }
        assert_eq!(end_of_connection(&CloseReason::Reset).as_deref(), Some("reset by the server"));
        assert_eq!(end_of_connection(&CloseReason::ByUs), None);
    }
}
