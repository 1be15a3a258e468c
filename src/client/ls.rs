//! `onepoll ls`.

use clap::Parser;
use onepoll::service::{Answer as Outcome, CloseReason, Context, Input, Service};
use onepoll::wire::files::framed::{About, Answer, Entry, Line, line};

use super::screen::print_line;
use super::target::{Target, cause};
use super::transfer::{Completion, LONGEST_LINE, Refusal, Report, Server, run_transfer};
use super::{ClientError, Run, Timeout, parse_timeout};

/// List the files of a server, with their sizes in bytes
#[derive(Debug, Parser)]
#[command(name = "ls")]
pub struct LsCommand {
    /// Print one JSON object per file
    #[arg(long)]
    json: bool,
    /// How long the server may be silent, 0 for no limit
    #[arg(long, value_parser = parse_timeout, default_value = "30s")]
    timeout: Timeout,
    /// The server; an IPv6 address needs brackets, as in [::1]:2600
    #[arg(value_name = "HOST:PORT")]
    target: Target,
}

impl Run for LsCommand {
    /// Prints the list as it comes.
    fn run(self) -> Result<(), ClientError> {
        let LsCommand { json, timeout, target } = self;
        let completion = Completion::default();
        let client = Ls {
            server: Server::new(target, timeout),
            report: Report { command: "ls", json },
            left: None,
            completion: completion.clone(),
        };
        run_transfer("ls", &completion, client)
    }
}

struct Ls {
    server: Server,
    report: Report,
    /// How many entries are still to come, once the server has told.
    left: Option<u64>,
    completion: Completion,
}

impl Ls {
    fn hear(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.server.moved(cx);
        // One write for all that one read has brought.
        let mut shown = String::new();
        let mut is_understood = true;
        while self.left != Some(0) && is_understood {
            let unread = input.unread();
            let (used, heard) = line(unread, LONGEST_LINE);
            input.consume(used);
            is_understood = match heard {
                Line::Whole(heard) => match self.read(heard, cx) {
                    Some(text) => {
                        shown += &text;
                        true
                    }
                    None => false,
                },
                Line::Incomplete if unread.len() <= LONGEST_LINE => break,
                Line::Incomplete | Line::TooLong => false,
            };
        }
        if !shown.is_empty() && !print_line(shown.as_bytes(), cx) {
            return self.completion.stop(cx);
        }
        if !is_understood {
            let sentence = format!("{} does not answer as a file server does: check the port", self.server);
            self.fail(None, sentence, cx);
        } else if self.left == Some(0) {
            self.completion.stop(cx);
        }
    }

    /// What to print for a line of the server; `None` if it has no business here.
    fn read(&mut self, heard: &[u8], cx: &mut Context<'_>) -> Option<String> {
        let Some(left) = &mut self.left else {
            match Answer::read(heard, About::List)? {
                Answer::Entries(count) => self.left = Some(count),
                Answer::Refused { code, why } => {
                    let Refusal { code, sentence } = Refusal::by(&self.server, "the list", code, why);
                    self.fail(Some(&code), sentence, cx);
                }
                _ => return None,
            }
            return Some(String::new());
        };
        let Entry { size, name } = Entry::read(heard)?;
        *left -= 1;
        Some(match self.report.json {
            true => self.report.object(serde_json::json!({ "name": name, "bytes": size })) + "\n",
            false => format!("{size:>12} {name}\n"),
        })
    }

    fn fail(&mut self, code: Option<&str>, sentence: String, cx: &mut Context<'_>) {
        self.report.failed(None, code, &sentence, cx);
        cx.fail(sentence);
    }

    fn ended(&mut self, how: &str, cx: &mut Context<'_>) {
        let sentence = match self.left {
            Some(0) => return,
            Some(left) => format!("{} {how}, and {left} files of its list are missing", self.server),
            None => format!("{} {how} without an answer; check what the server itself reports", self.server),
        };
        self.fail(None, sentence, cx);
    }
}

impl Service for Ls {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        self.server.connect(cx);
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: Outcome, cx: &mut Context<'_>) {
        self.server.found(answer, cx);
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.server.keep_time(cx);
        self.server.expect(0, cx);
        cx.send(b"LIST\n");
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.hear(input, cx);
    }

    fn end_of_input(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        self.ended("closed the connection", cx);
    }

    fn timeout(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        match self.server.silence(cx) {
            Some(sentence) => self.fail(None, sentence, cx),
            None => self.server.keep_time(cx),
        }
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        match why {
            CloseReason::NotConnected(error) => {
                if let Err(sentence) = self.server.not_connected(error, cx) {
                    self.fail(None, sentence, cx);
                }
            }
            CloseReason::ShuttingDown | CloseReason::CutOff => {}
            CloseReason::Reset => self.ended("reset the connection", cx),
            CloseReason::Failed(error) => self.ended(&format!("is lost ({})", cause(error)), cx),
            why => self.ended(&format!("is lost ({why})"), cx),
        }
    }
}
