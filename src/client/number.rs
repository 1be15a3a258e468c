//! `onepoll number`.

use clap::Parser;

use super::ask::{AskArgs, ask};
use super::asked::Expected;
use super::{ClientError, Run};

/// Send numbers to a number server and print their words
///
/// An answer that is neither the English word for a number from 1 to 10 nor,
/// for anything else, "Try again" is an error.
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
