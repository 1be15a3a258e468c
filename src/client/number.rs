//! `onepoll number`.

use clap::Parser;

use super::ask::{AskArgs, ask};
use super::asked::Expected;
use super::{ClientError, Run};

/// Send numbers to a number server and print their words
///
/// Any other answer is an error: a number from 1 to 10 gets its English word, anything
/// else gets "Try again".
#[derive(Debug, Parser)]
#[command(name = "number")]
pub struct Number {
    #[command(flatten)]
    arguments: AskArgs,
}

impl Run for Number {
    fn run(self) -> Result<(), ClientError> {
        ask(self.arguments.question(Expected::word_for))
    }
}
