//! `onepoll upper`.

use clap::Parser;

use super::ask::{AskArgs, ask};
use super::asked::Expected;
use super::{ClientError, Run};

/// Send text to an upper server and print it in upper case
///
/// An answer that is not the upper case of what was sent, as Python's str.upper
/// makes it, is an error.
#[derive(Debug, Parser)]
#[command(name = "upper")]
pub struct Upper {
    #[command(flatten)]
    arguments: AskArgs,
}

impl Run for Upper {
    fn run(self) -> Result<(), ClientError> {
        ask(self.arguments.question(Expected::upper_case_of))
    }
}
