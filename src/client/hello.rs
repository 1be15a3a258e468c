//! `onepoll hello`.

use clap::Parser;

use super::ask::{Question, ask};
use super::asked::Expected;
use super::messages::Messages;
use super::target::Target;
use super::{ClientError, Run, Timeout, parse_timeout};

/// Greet a hello server over UDP and print its answer
#[derive(Debug, Parser)]
#[command(name = "hello")]
pub struct Hello {
    /// How long to wait for an answer, 0 for no limit
    #[arg(long, value_parser = parse_timeout, default_value = "3s")]
    timeout: Timeout,
    /// The server; an IPv6 address needs brackets, as in [::1]:20001
    #[arg(value_name = "HOST:PORT")]
    target: Target,
}

impl Run for Hello {
    fn run(self) -> Result<(), ClientError> {
        let Hello { timeout, target } = self;
        let messages = Messages::given(vec![b"Hello UDP Server".to_vec()]);
        ask(Question {
            expects: |_| Expected::Anything,
            udp: true,
            timeout: Some(timeout),
            target,
            messages,
            end_word: None,
        })
    }
}
