//! `request`: sends a given message and checks the answer.

use std::time::Instant;

use clap::Args;
use onepoll::config::parse_size;
use onepoll::service::LARGEST_DATAGRAM;
use regex_lite::Regex;

use super::echo::LARGEST;
use crate::stress::arguments::{Common, LoadArgs};
use crate::stress::exchange::{Exchange, Script};
use crate::stress::framing::{Framing, LONGEST, Prefix};
use crate::stress::plan::Plan;
use crate::stress::report::summary::Settings;
use crate::stress::scenario::{Labels, Scenario, Shape, Style};
use crate::stress::tally::Tally;
use crate::stress::text::{escape, unescape};
use crate::stress::window::Window;

/// The longest answer, in bytes, that may still fail to match a pattern.
const LONGEST_ANSWER: usize = 1024 * 1024;

#[derive(Debug, Clone, Args)]
pub struct RequestArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Use UDP instead of TCP: one socket per connection; a message without an
    /// answer within --timeout is lost
    #[arg(long)]
    udp: bool,
    /// The message to send; \n, \r, \t, \0, \\ and \xHH have their meaning in C
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = unescape)]
    send: Bytes,
    /// The expected answer, byte for byte
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = unescape, conflicts_with = "expect_regex")]
    expect: Option<Bytes>,
    /// A pattern that the answer must match. It may match any part of the answer:
    /// anchor it (^...$) to match all of it. Over TCP, say with one of the next three
    /// options where an answer ends; otherwise it ends as soon as it matches
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    expect_regex: Option<Regex>,
    /// An answer ends with this text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = ending, group = "framing")]
    until: Option<Bytes>,
    /// An answer has this many bytes
    #[arg(long, value_name = "N", value_parser = length, group = "framing")]
    answer_length: Option<usize>,
    /// An answer begins with its length, which does not count itself: u8, u16, u32 or
    /// u64, and le behind it if the lowest byte comes first
    #[arg(long, value_name = "TYPE", group = "framing")]
    length_prefix: Option<Prefix>,
    /// Open a new connection for each message, for servers that close after one
    #[arg(long, conflicts_with = "udp")]
    per_connection: bool,
}

/// What an option's text stands for.
type Bytes = Vec<u8>;

fn ending(text: &str) -> Result<Bytes, String> {
    unescape(text).and_then(|bytes| match bytes.is_empty() {
        true => Err("every answer would end before it begins".into()),
        false => Ok(bytes),
    })
}

fn length(text: &str) -> Result<usize, String> {
    match parse_size(text) {
        Ok(length @ 1..=LONGEST) => Ok(length),
        Ok(_) => Err(format!("it must be from 1 to {LONGEST} bytes")),
        Err(error) => Err(error.to_string()),
    }
}

impl RequestArgs {
    fn framing(&self) -> Option<Framing> {
        let until = self.until.clone().map(Framing::Until);
        let prefix = self.length_prefix.map(Framing::Prefix);
        until.or(self.answer_length.map(Framing::Length)).or(prefix)
    }

    fn expected(&self) -> Expected {
        match (&self.expect, &self.expect_regex) {
            (Some(text), _) => Expected::Text(text.clone()),
            (None, Some(pattern)) => Expected::Pattern(pattern.clone()),
            (None, None) => Expected::Anything,
        }
    }

    /// Whether one can tell where an answer ends and the next one begins.
    fn answers_have_an_end(&self) -> bool {
        self.udp || self.expect.is_some() || self.framing().is_some()
    }
}

impl Scenario for RequestArgs {
    type Conversation = Exchange;

    fn shape(&self) -> Shape {
        Shape {
            is_udp: self.udp,
            style: if self.per_connection { Style::Churn { reset: false } } else { Style::Kept },
            // The answer to a request does not say which request it is for, so after
            // a lost datagram the next answer would be taken for the missing one.
            may_overlap: self.answers_have_an_end() && !self.udp,
            ..Shape::kept("request")
        }
    }

    fn check(&self, plan: &Plan) -> Result<(), String> {
        if self.send.len() > if self.udp { LARGEST_DATAGRAM } else { LARGEST } {
            return Err("--send is too long".into());
        }
        if self.send.is_empty() && !self.udp {
            return Err("--send is empty: over TCP nothing would be sent".into());
        }
        if self.expect.as_ref().is_some_and(Vec::is_empty) && !self.udp && self.framing().is_none() {
            return Err("--expect is empty: over TCP nothing would ever come".into());
        }
        if self.udp && self.framing().is_some() {
            return Err("over UDP a datagram is an answer: leave --until, --answer-length and \
                        --length-prefix out"
                .into());
        }
        if plan.load.depth() > 1 && !self.answers_have_an_end() {
            return Err("--depth must be 1 unless --expect, --until, --answer-length or --length-prefix \
                        shows where an answer ends"
                .into());
        }
        Ok(())
    }

    fn held(&self, plan: &Plan) -> (usize, usize) {
        (self.send.len(), plan.connections)
    }

    fn describe(&self, settings: &mut Settings) {
        settings.labels = Labels { corrupted: "wrong answers", ..Labels::default() };
        settings.size = Some(self.send.len());
        settings.send = Some(escape(&self.send));
        settings.expect = self.expect.as_deref().map(escape);
        settings.expect_regex = self.expect_regex.as_ref().map(Regex::to_string);
        settings.until = self.until.as_deref().map(escape);
        settings.answer_length = self.answer_length;
        settings.length_prefix = self.length_prefix.map(|prefix| prefix.to_string());
        settings.per_connection = Some(self.per_connection);
    }

    fn conversation(&self, plan: &Plan) -> Exchange {
        let request = Request::new(self.send.clone(), self.expected(), self.framing());
        Exchange::new(Script::Request(request), plan.connections, self.udp, !self.per_connection)
    }
}

/// What is sent, and what is expected.
#[derive(Debug)]
pub struct Request {
    pub message: Vec<u8>,
    pub expected: Expected,
    /// Where an answer ends in a stream, if that is known apart from what is
    /// expected.
    pub framing: Option<Framing>,
    /// The last answer that matched a pattern: the same one need not be matched
    /// again.
    matched: Vec<u8>,
}

#[derive(Debug, Clone)]
pub enum Expected {
    /// Exactly these bytes.
    Text(Vec<u8>),
    /// Something that matches; without framing, everything that has come so far.
    Pattern(Regex),
    /// Anything; without framing, whatever one read returns.
    Anything,
}

impl Request {
    pub fn new(message: Vec<u8>, expected: Expected, framing: Option<Framing>) -> Request {
        Request { message, expected, framing, matched: Vec::new() }
    }

    fn is_right(&mut self, answer: &[u8]) -> bool {
        match &self.expected {
            Expected::Text(text) => answer == text,
            Expected::Anything => true,
            Expected::Pattern(_) if !answer.is_empty() && answer == self.matched => true,
            Expected::Pattern(pattern) => {
                let is_match = pattern.is_match(&String::from_utf8_lossy(answer));
                if is_match && self.framing.is_some() {
                    self.matched.clear();
                    self.matched.extend_from_slice(answer);
                }
                is_match
            }
        }
    }

    /// Takes bytes from a stream. `answer` holds what has come of an incomplete
    /// answer.
    pub fn hear(
        &mut self,
        window: &mut Window,
        answer: &mut Vec<u8>,
        bytes: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) {
        match (&self.framing, &self.expected) {
            (Some(_), _) => self.hear_framed(window, answer, bytes, now, tally),
            (None, Expected::Text(text)) => hear_text(text, window, answer, bytes, now, tally),
            (None, Expected::Pattern(_)) => {
                answer.extend_from_slice(bytes);
                if self.is_right(answer) {
                    answer.clear();
                    right(window, now, tally);
                } else if answer.len() > LONGEST_ANSWER {
                    wrong(window, [answer, &[]], now, tally);
                    answer.clear();
                }
            }
            (None, Expected::Anything) => right(window, now, tally),
        }
    }

    /// Goes through answers whose end is known, each of which is judged once and
    /// as a whole.
    fn hear_framed(
        &mut self,
        window: &mut Window,
        answer: &mut Vec<u8>,
        bytes: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) {
        let mut searched = answer.len();
        let mut kept = std::mem::take(answer);
        let mut rest = match kept.is_empty() {
            true => bytes,
            false => {
                kept.extend_from_slice(bytes);
                &kept
            }
        };
        loop {
            match self.framing.as_ref().map_or(Ok(None), |framing| framing.first(rest, searched)) {
                Ok(Some(length)) => {
                    let (first, others) = rest.split_at(length);
                    self.judge(window, first, now, tally);
                    // However wrong it is, the next one is in step.
                    window.corrupted_in_a_row = 0;
                    (rest, searched) = (others, 0);
                }
                Ok(None) if rest.is_empty() => return,
                // Nothing was complete: what had been kept already is not copied.
                Ok(None) if rest.len() == kept.len() => return *answer = kept,
                Ok(None) => return answer.extend_from_slice(rest),
                Err(()) => {
                    wrong(window, [rest, &[]], now, tally);
                    // Nobody can know where the next answer begins.
                    return window.corrupted_in_a_row = u32::MAX;
                }
            }
        }
    }

    fn judge(&mut self, window: &mut Window, answer: &[u8], now: Instant, tally: &mut Tally) {
        if self.is_right(answer) {
            right(window, now, tally);
        } else {
            wrong(window, [answer, &[]], now, tally);
        }
    }

    /// Takes a datagram, which is a whole answer.
    pub fn hear_datagram(&mut self, window: &mut Window, datagram: &[u8], now: Instant, tally: &mut Tally) {
        self.judge(window, datagram, now, tally);
    }

    /// Handles the server's close: nothing more can belong to the answer. A
    /// correct answer was recognised as soon as it was complete; only an empty
    /// one shows at the end.
    pub fn end(&self, window: &mut Window, answer: &mut Vec<u8>, now: Instant, tally: &mut Tally) {
        if !answer.is_empty() {
            wrong(window, [answer, &[]], now, tally);
            answer.clear();
        } else if self.framing.is_none()
            && matches!(&self.expected, Expected::Pattern(pattern) if pattern.is_match(""))
            && !window.in_flight.is_empty()
        {
            right(window, now, tally);
        }
    }
}

/// Goes through answers of known length, several of which may come at once.
fn hear_text(
    text: &[u8],
    window: &mut Window,
    answer: &mut Vec<u8>,
    mut bytes: &[u8],
    now: Instant,
    tally: &mut Tally,
) {
    let mut is_behind_answer = false;
    while !bytes.is_empty() {
        let count = (text.len() - answer.len()).min(bytes.len());
        let (part, rest) = bytes.split_at(count);
        if text[answer.len()..answer.len() + count] != *part {
            // Nobody can know where a wrong answer ends, unless a right one follows.
            // If no other answer is awaited, it began with the correct one.
            let is_too_long = is_behind_answer && answer.is_empty() && window.in_flight.is_empty();
            let has_more = window.in_flight.len() > 1;
            let next = has_more.then(|| next_beginning(text, bytes)).flatten().unwrap_or(bytes.len());
            wrong(window, [if is_too_long { text } else { answer }, &bytes[..next]], now, tally);
            answer.clear();
            bytes = &bytes[next..];
            continue;
        }
        bytes = rest;
        if answer.len() + count < text.len() {
            answer.extend_from_slice(part);
        } else {
            answer.clear();
            right(window, now, tally);
            is_behind_answer = true;
        }
    }
}

/// Where a right answer begins behind a wrong one.
fn next_beginning(text: &[u8], bytes: &[u8]) -> Option<usize> {
    (1..bytes.len()).find(|place| {
        let rest = &bytes[*place..];
        rest.starts_with(text) || rest.len() >= 2 && text.starts_with(rest)
    })
}

/// Records a correct answer, which belongs to the oldest request.
fn right(window: &mut Window, now: Instant, tally: &mut Tally) {
    match window.in_flight.pop_front() {
        Some(message) => {
            window.corrupted_in_a_row = 0;
            tally.answered(&message, now);
        }
        None if window.forget_expired() => tally.counts.late_answers += 1,
        // Nobody asked for it.
        None => tally.counts.duplicated += 1,
    }
}

/// Records a wrong answer, given in two parts; the oldest request gets no other.
fn wrong(window: &mut Window, parts: [&[u8]; 2], now: Instant, tally: &mut Tally) {
    tally.keep_wrong(parts);
    match window.in_flight.pop_front() {
        Some(message) => {
            tally.missed(&message, now, |counts| counts.corrupted += 1);
            window.corrupted_in_a_row += 1;
        }
        None => tally.counts.corrupted += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::stress::measure::WRONG_ANSWER_KEPT;
    use crate::stress::tally::Patience;

    fn talk(expected: Expected, requests: usize, reads: &[&str]) -> (u64, u64, u64) {
        let mut request = Request::new(Vec::new(), expected, None);
        let (mut window, mut answer, now) = (Window::default(), Vec::new(), Instant::now());
        let mut tally = Tally {
            under_way: requests as u64,
            patience: Patience::new(Duration::from_secs(60)),
            ..Tally::default()
        };
        (0..requests).for_each(|_| {
            window.send(now, now);
        });
        for read in reads {
            request.hear(&mut window, &mut answer, read.as_bytes(), now, &mut tally);
        }
        (tally.counts.answered, tally.counts.corrupted, tally.under_way)
    }

    #[test]
    fn a_text_is_found_however_it_is_cut() {
        let text = || Expected::Text(b"SEVEN".to_vec());
        assert_eq!(talk(text(), 2, &["SEVENSEVEN"]), (2, 0, 0));
        assert_eq!(talk(text(), 2, &["SE", "VENSEV", "EN"]), (2, 0, 0));
        assert_eq!(talk(text(), 2, &["SE", "VEX", "SEVEN"]), (1, 1, 0));
    }

    #[test]
    fn a_pattern_waits_until_it_matches() {
        let pattern = || Expected::Pattern(Regex::new("^\\{.*\\}$").unwrap());
        assert_eq!(talk(pattern(), 1, &["{\"a\"", ": 1", "}"]), (1, 0, 0));
        assert_eq!(talk(pattern(), 1, &["{\"a\""]), (0, 0, 1));
    }

    #[test]
    fn an_answer_that_comes_late_is_no_duplicate() {
        let mut request = Request::new(Vec::new(), Expected::Anything, None);
        let (mut window, now) = (Window::default(), Instant::now());
        let mut tally =
            Tally { under_way: 1, patience: Patience::new(Duration::from_secs(60)), ..Tally::default() };
        window.send(now, now);
        window.expire(Instant::now(), &mut tally);
        request.hear_datagram(&mut window, b"late", now, &mut tally);
        request.hear_datagram(&mut window, b"again", now, &mut tally);
        assert_eq!((tally.counts.late_answers, tally.counts.duplicated), (1, 1));
    }

    #[test]
    fn the_first_wrong_answer_is_kept_from_its_beginning() {
        let mut request = Request::new(Vec::new(), Expected::Text(b"seven".to_vec()), None);
        let (mut window, mut answer, now) = (Window::default(), Vec::new(), Instant::now());
        let mut tally =
            Tally { under_way: 2, patience: Patience::new(Duration::from_secs(60)), ..Tally::default() };
        (0..2).for_each(|_| {
            window.send(now, now);
        });
        for read in ["sev", "eral\n", "eight"] {
            request.hear(&mut window, &mut answer, read.as_bytes(), now, &mut tally);
        }
        assert_eq!((tally.counts.corrupted, tally.under_way), (2, 0));
        assert_eq!(tally.wrong_answer.as_deref(), Some(&b"several\n"[..]));
        request.hear_datagram(&mut window, b"nine", now, &mut tally);
        assert_eq!(tally.wrong_answer.as_deref(), Some(&b"several\n"[..]));
        let mut tally = Tally::default();
        request.hear_datagram(&mut window, &[7; 5000], now, &mut tally);
        assert_eq!(tally.wrong_answer.map(|answer| answer.len()), Some(WRONG_ANSWER_KEPT));
    }

    #[test]
    fn an_answer_that_is_too_long_is_shown_from_its_beginning() {
        let mut request = Request::new(Vec::new(), Expected::Text(b"pong".to_vec()), None);
        for (requests, reads, shown) in
            [(1, &["pong\n"][..], "pong\n"), (1, &["po", "ng\n"], "pong\n"), (2, &["pongdong"], "dong")]
        {
            let (mut window, mut answer, now) = (Window::default(), Vec::new(), Instant::now());
            let mut tally = Tally {
                under_way: requests,
                patience: Patience::new(Duration::from_secs(60)),
                ..Tally::default()
            };
            (0..requests).for_each(|_| {
                window.send(now, now);
            });
            for read in reads {
                request.hear(&mut window, &mut answer, read.as_bytes(), now, &mut tally);
            }
            assert_eq!(tally.wrong_answer.as_deref(), Some(shown.as_bytes()), "{reads:?}");
            assert_eq!((tally.counts.answered, tally.counts.corrupted), (1, 1));
        }
    }
}
