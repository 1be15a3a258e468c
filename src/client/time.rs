//! `onepoll time`.

use clap::Parser;

use super::ask::{Question, ask};
use super::asked::Expected;
use super::messages::Messages;
use super::target::Target;
use super::{ClientError, Run, Timeout, parse_timeout};

/// Print the time that a time server tells
#[derive(Debug, Parser)]
#[command(name = "time")]
pub struct Time {
    /// Ask over UDP instead of TCP
    #[arg(long)]
    udp: bool,
    /// How long to wait for an answer, 0 for ever (default 3s over UDP, 10s over TCP)
    #[arg(long, value_parser = parse_timeout)]
    timeout: Option<Timeout>,
    /// The server; an IPv6 address stands in brackets, as in [::1]:5000
    #[arg(value_name = "HOST:PORT")]
    target: Target,
}

impl Run for Time {
    fn run(self) -> Result<(), ClientError> {
        let Time { udp, timeout, target } = self;
        // A time server answers any datagram; over TCP it tells the time at once.
        let messages = Messages::given(vec![if udp { b"time".to_vec() } else { Vec::new() }]);
        ask(Question { expects: |_| Expected::Anything, udp, timeout, target, messages, end_word: None })
    }
}
