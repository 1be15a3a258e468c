//! `onepoll json`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::ask::{Question, ask};
use super::asked::{self, Expected};
use super::json_values::{JsonArgument, parse_argument};
use super::messages::Messages;
use super::target::Target;
use super::{ClientError, Run, Timeout, parse_timeout};

/// Send JSON to a json server and print its answers
///
/// A value may span several lines, and a line or an argument may hold several
/// values; each is sent by itself. An answer that reports an error in the JSON
/// counts as an answer: status 0. An argument that ends inside a value is wrong
/// usage; standard input that does is sent as it is.
#[derive(Debug, Parser)]
#[command(name = "json")]
pub struct Json {
    // A server that waits for the rest of a value complains after 10 s; that has to
    // come first.
    /// How long an answer may take to its last byte, 0 for no limit
    #[arg(long, value_parser = parse_timeout, default_value = "15s")]
    timeout: Timeout,
    /// The server; an IPv6 address needs brackets, as in [::1]:9000
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// What to send, one answer for each value; without it, the values of standard input
    #[arg(value_name = "JSON", value_parser = OsStringValueParser::new().try_map(parse_json))]
    values: Vec<JsonArgument>,
}

fn parse_json(text: OsString) -> Result<JsonArgument, String> {
    parse_argument(text.as_bytes())
}

impl Run for Json {
    fn run(self) -> Result<(), ClientError> {
        let Json { timeout, target, values } = self;
        let messages = if values.is_empty() {
            Messages::values_from_keyboard()
        } else {
            Messages::given(values.into_iter().flat_map(|JsonArgument(values)| values).collect())
        };
        let expects = |_: &[u8]| Expected::Json(asked::Json::default());
        ask(Question { expects, udp: false, timeout: Some(timeout), target, messages, end_word: None })
    }
}
