//! `onepoll time`.

use clap::Parser;

use super::ask::{Question, ServerArgs, ask};
use super::asked::Expected;
use super::messages::Messages;
use super::{ClientError, Run};

/// Print the time that a time server tells
#[derive(Debug, Parser)]
#[command(name = "time")]
pub struct Time {
    #[command(flatten)]
    server: ServerArgs,
}

impl Run for Time {
    fn run(self) -> Result<(), ClientError> {
        let ServerArgs { udp, timeout, target } = self.server;
        // A time server answers any datagram; over TCP it tells the time at once.
        let messages = Messages::given(vec![if udp { b"time".to_vec() } else { Vec::new() }]);
        ask(Question { expects: |_| Expected::Anything, udp, timeout, target, messages, end_word: None })
    }
}
