//! Clients of file and upload, and what must be on the disk in the end.
//!
//! A file that a client stores says in its name what its contents are, so whatever appears
//! under such a name can be checked without asking who put it there.

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::system::simulated::Rng;
use crate::wire::files::framed::{About, Answer, Entry};

/// What the folder is called, as in the settings that the simulation leaves alone.
pub(super) const FOLDER: &str = "onepoll-files";
pub(super) const READY: &[u8] = b"I am ready";
/// How the temporary files of uploads begin.
const TEMPORARY: char = '.';

/// A name, and what its file holds: `f<client>-<number>-<size>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    client: usize,
    number: usize,
    size: usize,
}

impl Told {
    pub fn new(client: usize, number: usize, size: usize) -> Told {
        Told { client, number, size }
    }

    pub fn name(&self) -> String {
        let Told { client, number, size } = self;
        format!("f{client}-{number}-{size}")
    }

    fn of(name: &str) -> Option<Told> {
        let mut numbers = name.strip_prefix('f')?.split('-').map(str::parse::<usize>);
        let (client, number, size) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Told { client, number, size })
    }

    fn byte(&self, at: usize) -> u8 {
        let seed = self.client * 1_000 + self.number;
        (at.wrapping_mul(31).wrapping_add(seed.wrapping_mul(2_654_435_761)) >> 3) as u8
    }

    pub fn contents(&self) -> Vec<u8> {
        (0..self.size).map(|at| self.byte(at)).collect()
    }
}

/// A request whose answer has not come, or not all of it.
#[derive(Debug, Clone)]
enum Asked {
    List,
    Entries(u64),
    Get { offset: usize, name: String },
    Contents { at: usize, told: Told },
    Sum(String),
    Put(String),
    Stored(String),
}

/// The requests of one client in framed mode, and their answers.
#[derive(Debug, Default)]
pub(super) struct Requests {
    names: Vec<String>,
    /// Composed, and not sent yet.
    composed: Vec<Asked>,
    asked: VecDeque<Asked>,
    unparsed: Vec<u8>,
    complaint: Option<String>,
    /// The server ends a connection whose PUT it refuses.
    is_over: bool,
}

impl Requests {
    /// Adds a request of client `number`.
    pub fn compose(&mut self, number: usize, rng: &mut Rng, words: &mut Vec<u8>) {
        let known = if self.names.is_empty() { None } else { Some(rng.pick(&self.names).clone()) };
        let (request, asked) = match (rng.below(6), known) {
            (0, _) => ("LIST\n".to_owned(), Asked::List),
            (1 | 2, Some(name)) => {
                let offset = *rng.pick(&[0, 0, 1, 5_000]);
                (format!("GET {offset} {name}\n"), Asked::Get { offset, name })
            }
            (3, Some(name)) => (format!("SUM {name}\n"), Asked::Sum(name)),
            _ => {
                let size = *rng.pick(&[0, 1, 100, 3_000, 50_000]);
                let name = format!("f{number}-{}-{size}", self.names.len());
                self.names.push(name.clone());
                (format!("PUT {size} - {name}\n"), Asked::Put(name))
            }
        };
        words.extend_from_slice(request.as_bytes());
        if let Asked::Put(name) = &asked
            && let Some(told) = Told::of(name)
        {
            words.extend(told.contents());
        }
        self.composed.push(asked);
    }

    /// What was composed is on its way, or will never be.
    pub fn was_sent(&mut self, is_sent: bool) {
        let composed = std::mem::take(&mut self.composed);
        if is_sent {
            self.asked.extend(composed);
        }
    }

    /// Reads answers.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.unparsed.extend_from_slice(bytes);
        while self.complaint.is_none() && self.hear_next() {}
    }

    fn hear_next(&mut self) -> bool {
        if let Some(Asked::Contents { at, told }) = self.asked.front_mut() {
            let count = self.unparsed.len().min(told.size - *at);
            if (0..count).any(|next| self.unparsed[next] != told.byte(*at + next)) {
                self.complaint = Some(format!("contents are wrong within {count} bytes from {at}"));
                return false;
            }
            *at += count;
            self.unparsed.drain(..count);
            let is_whole = *at == told.size;
            if is_whole {
                self.asked.pop_front();
            }
            return is_whole;
        }
        let Some(end) = self.unparsed.iter().position(|byte| *byte == b'\n') else { return false };
        let line: Vec<u8> = self.unparsed.drain(..=end).collect();
        let text = String::from_utf8_lossy(&line).into_owned();
        if let Err(what) = self.hear_line(&line[..end]) {
            self.complaint = Some(format!("{what}: {text:?}"));
        }
        true
    }

    fn hear_line(&mut self, line: &[u8]) -> Result<(), String> {
        let Some(asked) = self.asked.pop_front() else {
            let is_farewell =
                matches!(Answer::read(line, About::List), Some(Answer::Refused { code: "bad-request", .. }));
            return if is_farewell { Ok(()) } else { Err("nothing was asked".into()) };
        };
        let about = match &asked {
            Asked::Entries(left) => {
                Entry::read(line).ok_or("this is no entry")?;
                if *left > 1 {
                    self.asked.push_front(Asked::Entries(left - 1));
                }
                return Ok(());
            }
            Asked::List => About::List,
            Asked::Get { .. } | Asked::Contents { .. } => About::Get,
            Asked::Sum(_) => About::Sum,
            Asked::Put(_) => About::Put,
            Asked::Stored(_) => About::Contents,
        };
        let answer = Answer::read(line, about).ok_or("this is no answer")?;
        match (asked, answer) {
            (Asked::Put(_) | Asked::Stored(_), Answer::Refused { .. }) => {
                self.asked.clear();
                self.is_over = true;
            }
            (_, Answer::Refused { .. }) | (Asked::List, Answer::Entries(0)) => {}
            (Asked::List, Answer::Entries(count)) => self.asked.push_front(Asked::Entries(count)),
            (Asked::Get { offset, name }, Answer::Size(size)) => {
                let told = Told::of(&name).filter(|told| told.size as u64 == size && offset <= told.size);
                let told = told.ok_or("the size is wrong")?;
                if offset < told.size {
                    self.asked.push_front(Asked::Contents { at: offset, told });
                }
            }
            (Asked::Sum(name), Answer::Sum { sha256, .. }) => {
                let contents = Told::of(&name).map(|told| told.contents()).unwrap_or_default();
                if sha256 != <[u8; 32]>::from(Sha256::digest(contents)) {
                    return Err("the sum is wrong".into());
                }
            }
            (Asked::Put(name), Answer::Send) => self.asked.push_front(Asked::Stored(name)),
            (Asked::Stored(name), Answer::Stored(stored)) if name == stored => {}
            _ => return Err("this answers something else".into()),
        }
        Ok(())
    }

    /// What was wrong about the answers.
    pub fn check(&self) -> Result<(), String> {
        self.complaint.clone().map_or(Ok(()), Err)
    }

    /// Whether all answers have come.
    pub fn is_answered(&self) -> bool {
        self.is_over || self.asked.is_empty() && self.unparsed.is_empty()
    }
}

/// What an uploader has sent so far: a name, then contents.
#[derive(Debug, Default)]
pub(super) struct Sent(Vec<u8>);

impl Sent {
    /// The name first, then some contents.
    pub fn compose(&self, number: usize, rng: &mut Rng, words: &mut Vec<u8>) {
        if self.0.is_empty() && words.is_empty() {
            words.extend_from_slice(format!("u{number:0>4}x.txt").as_bytes());
        }
        let length = *rng.pick(&[1, 10, 1_000, 20_000]);
        words.extend((0..length).map(|at: usize| b'a' + (at % 23) as u8));
    }

    pub fn add(&mut self, words: &[u8]) {
        self.0.extend_from_slice(words);
    }
}

/// Checks what is in the folder: nothing is there in part.
pub(super) fn check<'a>(
    folder: &BTreeMap<String, Vec<u8>>,
    uploads: impl Iterator<Item = &'a Sent> + Clone,
) -> Result<(), String> {
    for (name, contents) in folder.iter().filter(|(name, _)| !name.starts_with(TEMPORARY)) {
        let is_whole = match Told::of(name) {
            Some(told) => told.contents() == *contents,
            None if name.starts_with('u') => {
                // A number stands before the extension of a name that was taken.
                let base = name.split(" (").next().unwrap_or(name);
                let is_its = |sent: &Sent| {
                    sent.0.starts_with(base.as_bytes())
                        && sent.0.ends_with(contents)
                        && (base.len() < name.len() || sent.0.len() == name.len() + contents.len())
                };
                uploads.clone().any(is_its)
            }
            // Noise, and what came over UDP.
            None => true,
        };
        if !is_whole {
            return Err(format!("{name:?} is on the disk with {} bytes, which nobody sent", contents.len()));
        }
    }
    Ok(())
}

/// The temporary files in the folder.
pub(super) fn unfinished(folder: &BTreeMap<String, Vec<u8>>) -> usize {
    folder.keys().filter(|name| name.starts_with(TEMPORARY)).count()
}
