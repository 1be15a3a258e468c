//! `onepoll echo`.

use clap::Parser;

use super::ask::{AskArgs, Question, ask};
use super::asked::Expected;
use super::{ClientError, Run};

/// Send messages to an echo server and print what comes back
///
/// An answer that differs from what was sent is an error.
#[derive(Debug, Parser)]
#[command(name = "echo")]
pub struct Echo {
    #[command(flatten)]
    arguments: AskArgs,
}

impl Run for Echo {
    fn run(self) -> Result<(), ClientError> {
        // The course's echo server ends at /end too.
        ask(Question { end_word: Some(b"/end"), ..self.arguments.question(|_| Expected::Same) })
    }
}
