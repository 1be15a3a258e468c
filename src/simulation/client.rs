//! TCP clients: what they send, how they misbehave, and what they must receive.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;

use super::files::{READY, Requests, Sent};
use super::web::Asked;
use super::{courier, video};
use crate::system::simulated::{Rng, Stream};

/// Which service a client talks to, and by which rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Echo,
    /// In line mode, kept open.
    Upper,
    /// In line mode.
    Number,
    /// In chunk mode, values that need no delimiter.
    Json,
    Time,
    Quote,
    Discard,
    /// In line mode.
    Chat,
    Courier,
    /// In framed mode.
    File,
    Upload,
    Web,
    /// Watches the video.
    Viewer,
    /// Sends frames, and watches until it does.
    Publisher,
    /// Random bytes to any service; only the loop must survive them.
    Noise,
}

pub(super) const ROLES: [Role; 15] = [
    Role::Echo,
    Role::Upper,
    Role::Number,
    Role::Json,
    Role::Time,
    Role::Quote,
    Role::Discard,
    Role::Chat,
    Role::Courier,
    Role::File,
    Role::Upload,
    Role::Web,
    Role::Viewer,
    Role::Publisher,
    Role::Noise,
];

impl Role {
    /// The service that it talks to; noise goes to any of them.
    pub fn service(self) -> &'static str {
        match self {
            Role::Echo | Role::Noise => "echo",
            Role::Upper => "upper",
            Role::Number => "number",
            Role::Json => "json",
            Role::Time => "time",
            Role::Quote => "quote",
            Role::Discard => "discard",
            Role::Chat => "chat",
            Role::Courier => courier::NAME,
            Role::File => "file",
            Role::Upload => "upload",
            Role::Web => "web",
            Role::Viewer | Role::Publisher => "video",
        }
    }
}

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Everything,
    /// A little of what has come, again and again.
    Steadily,
    ALittle,
    Nothing,
}

/// Whether a client and its server have settled on lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    Unsettled,
    Offered,
    Settled,
}

/// The length of a shouted line in bytes.
const SHOUT: usize = 20_000;
/// How many lines one client shouts.
const SHOUTS: u32 = 60;

pub(super) struct Client {
    pub number: usize,
    pub role: Role,
    pub address: SocketAddr,
    /// The longest line that the server takes.
    line_length: usize,
    /// `None` once it has closed.
    socket: Option<Stream>,
    reading: Reading,
    /// Whether it ever left bytes unread.
    was_lazy: bool,
    /// There were times when it read nothing at all.
    has_paused: bool,
    was_reset: bool,
    lines: Lines,
    pub received: Vec<u8>,
    /// The answer to everything it sent, if that is known to the byte.
    expected: Vec<u8>,
    /// Lines that must come back, in any order.
    answers: BTreeMap<String, u32>,
    /// How many bytes of long answers must come back between those lines.
    dots: usize,
    /// Pages that it asked for.
    asked: Asked,
    /// How many of the jobs it asked for fail.
    doomed: u32,
    said: u32,
    /// How many bytes it has sent, in all and up to the end of each numbered line.
    sent: usize,
    lines_end: Vec<usize>,
    /// Whether it sends long lines, so that its room fills up.
    shouts: bool,
    requests: Requests,
    pub upload: Sent,
    pub half_closed: bool,
    /// Whether it asked to be kept after its half-close; it leaves with a reset.
    stays: bool,
    /// How the connection ended, once that was read.
    pub ended: Option<End>,
    /// Whether it left by itself: then nothing more is promised to it.
    pub left: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    InOrder,
    Reset,
}

impl Client {
    pub fn new(
        number: usize,
        role: Role,
        address: SocketAddr,
        socket: Stream,
        line_length: usize,
        shouts: bool,
        rng: &mut Rng,
    ) -> Client {
        let reading = *rng.pick(&[
            Reading::Everything,
            Reading::Everything,
            Reading::Steadily,
            Reading::ALittle,
            Reading::Nothing,
        ]);
        Client {
            number,
            role,
            address,
            line_length,
            socket: Some(socket),
            reading,
            was_lazy: reading != Reading::Everything,
            has_paused: matches!(reading, Reading::ALittle | Reading::Nothing),
            was_reset: false,
            lines: Lines::Unsettled,
            received: Vec::new(),
            expected: Vec::new(),
            answers: BTreeMap::new(),
            dots: 0,
            asked: Asked::default(),
            doomed: 0,
            said: 0,
            sent: 0,
            lines_end: Vec::new(),
            shouts,
            requests: Requests::default(),
            upload: Sent::default(),
            half_closed: false,
            stays: false,
            ended: None,
            left: false,
        }
    }

    pub fn is_open(&self) -> bool {
        self.socket.is_some() && self.ended.is_none()
    }

    pub fn is_accepted(&self) -> bool {
        self.socket.as_ref().is_some_and(Stream::is_accepted)
    }

    /// Takes one step at random.
    pub fn act(&mut self, rng: &mut Rng) {
        match rng.below(100) {
            0..55 if !self.half_closed => self.speak(rng),
            0..80 => self.read(rng),
            80..84 => {
                self.reading = *rng.pick(&[Reading::Everything, Reading::ALittle, Reading::Nothing]);
                self.was_lazy |= self.reading != Reading::Everything;
                self.has_paused |= self.reading != Reading::Everything;
            }
            84..88 => self.half_close(),
            88..90 => self.leave(),
            90..91 => {
                if let Some(socket) = &self.socket {
                    socket.reset_on_close();
                }
                self.leave();
            }
            91..94 if !self.half_closed => {
                // It is no part of the stream, so it does not matter whether it went out.
                let _ = self.socket.as_ref().map(Stream::send_urgent);
            }
            _ => {}
        }
    }

    /// Reads, if it is a client that always does.
    pub fn listen(&mut self, rng: &mut Rng) {
        if matches!(self.reading, Reading::Everything | Reading::Steadily) {
            self.read(rng);
        }
    }

    /// Makes it read everything from now on.
    pub fn behave(&mut self) {
        self.reading = Reading::Everything;
    }

    pub fn half_close(&mut self) {
        if let Some(socket) = &self.socket {
            // After a reset there is nothing to close.
            let _ = socket.half_close();
            self.half_closed = true;
        }
    }

    pub fn leave(&mut self) {
        self.left = true;
        if let Some(socket) = self.socket.as_ref().filter(|_| self.stays) {
            socket.reset_on_close();
        }
        self.socket = None;
    }

    pub fn read(&mut self, rng: &mut Rng) {
        let most = match self.reading {
            Reading::Everything => usize::MAX,
            Reading::Steadily | Reading::ALittle => rng.between(1, 300),
            Reading::Nothing => return,
        };
        let mut buffer = [0; 4096];
        let mut count = 0;
        while let Some(socket) = &self.socket
            && count < most
        {
            let room = buffer.len().min(most - count);
            match socket.read(&mut buffer[..room]) {
                Ok(0) => return self.end(End::InOrder),
                Ok(read) => {
                    self.received.extend_from_slice(&buffer[..read]);
                    if self.role == Role::File {
                        self.requests.hear(&buffer[..read]);
                    }
                    count += read;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(End::Reset),
            }
        }
    }

    fn end(&mut self, how: End) {
        self.ended.get_or_insert(if self.was_reset { End::Reset } else { how });
        self.socket = None;
    }

    /// Sends whole messages, or nothing if they do not fit: a message that a full buffer
    /// cuts could be held back for a second and then be answered as it is.
    pub fn speak(&mut self, rng: &mut Rng) {
        if matches!(self.role, Role::Upper | Role::Number | Role::Chat) && !self.settles_on_lines() {
            return;
        }
        let mut words = Vec::new();
        let before = self.said;
        for _ in 0..*rng.pick(&[1, 1, 2, 5, 30]) {
            self.compose(rng, &mut words);
        }
        let is_sent = self.say(&words);
        if !is_sent {
            self.said = before;
        }
        self.requests.was_sent(is_sent);
    }

    /// Offers lines with a line end of its own, which is one byte and so cannot be cut.
    /// True once the server has read it.
    fn settles_on_lines(&mut self) -> bool {
        match self.lines {
            Lines::Unsettled => {
                self.say(b"\n");
                self.lines = Lines::Offered;
            }
            Lines::Offered if self.socket.as_ref().is_some_and(Stream::is_taken) => {
                self.lines = Lines::Settled
            }
            Lines::Offered | Lines::Settled => {}
        }
        self.lines == Lines::Settled
    }

    fn compose(&mut self, rng: &mut Rng, words: &mut Vec<u8>) {
        match self.role {
            Role::Echo => {
                let length = *rng.pick(&[1, 5, 64, 1000, 30_000]);
                words.extend((0..rng.between(1, length)).map(|_| rng.next() as u8));
            }
            Role::Upper => {
                words.extend_from_slice(rng.pick(&["abc\n", "\n", "straße 하나\n", "Ab Cd\r\n"]).as_bytes())
            }
            Role::Number => {
                words.extend_from_slice(rng.pick(&["1\n", "10\n", "11\n", "\n", " 7 \n", "일\n"]).as_bytes())
            }
            Role::Json => {
                words.extend_from_slice(rng.pick(&["[1]", "{}", "[\"a\"]", "[[],[2.50]]"]).as_bytes())
            }
            Role::Chat => {
                let words_of_it = match if self.shouts && self.said < SHOUTS { 2 } else { rng.below(40) } {
                    0 => "/who\n".to_owned(),
                    1 => format!("/nick n{}\n", self.number),
                    2 if self.line_length > SHOUT => {
                        self.said += 1;
                        format!("{}:{:0>SHOUT$}\n", self.number, self.said)
                    }
                    _ => {
                        self.said += 1;
                        format!("{}:{}\n", self.number, self.said)
                    }
                };
                words.extend_from_slice(words_of_it.as_bytes());
            }
            Role::Courier => {
                self.said += 1;
                // Numbers are unique across all clients.
                let number = self.number * 10_000 + self.said as usize;
                match rng.below(12) {
                    11 => words.extend_from_slice(format!("fetch {}\n", rng.below(60_000)).as_bytes()),
                    10 => words.extend_from_slice(b"stay 0\n"),
                    0 => words.extend_from_slice(format!("get {}\n", rng.below(40_000)).as_bytes()),
                    1..5 => words.extend_from_slice(format!("post {number}\n").as_bytes()),
                    5 => words.extend_from_slice(format!("fail {number}\n").as_bytes()),
                    _ => words.extend_from_slice(format!("job {number}\n").as_bytes()),
                }
            }
            Role::File => self.requests.compose(self.number, rng, words),
            Role::Upload => self.upload.compose(self.number, rng, words),
            Role::Web => Asked::compose(rng, words),
            // It would be a publisher.
            Role::Viewer => {}
            Role::Publisher => {
                self.said += 1;
                let longest = *rng.pick(&[20, 200, 5_000]);
                let length = rng.between(1, longest);
                words.extend(video::frame(self.number as u32, self.said, length));
            }
            Role::Time | Role::Quote | Role::Discard | Role::Noise => {
                let length = *rng.pick(&[1, 3, 100, 5_000]);
                words.extend((0..length).map(|_| *rng.pick(b"\n\r[{\"1,x\xEA\xB0\x80/\0 ")));
            }
        }
    }

    /// Sends words, and notes what must come back. False if they were not sent.
    fn say(&mut self, words: &[u8]) -> bool {
        let Some(socket) = self.socket.as_ref().filter(|socket| socket.room() >= words.len()) else {
            return false;
        };
        if words.is_empty() {
            return false;
        }
        if let Err(error) = socket.write(&[IoSlice::new(words)]) {
            // A reset is reported only once, to the first call.
            self.was_reset |= error.kind() != ErrorKind::WouldBlock;
            return false;
        }
        match self.role {
            Role::Echo => self.expected.extend_from_slice(words),
            Role::Upper | Role::Number => {
                let text = String::from_utf8_lossy(words).into_owned();
                for line in text.split_inclusive('\n') {
                    let line = line.trim_end_matches('\n').trim_end_matches('\r');
                    let answer =
                        if self.role == Role::Upper { line.to_uppercase() } else { word(line).to_owned() };
                    self.expected.extend_from_slice(answer.as_bytes());
                    self.expected.push(b'\n');
                }
            }
            Role::Json => {
                let text = String::from_utf8_lossy(words);
                // Python writes a space after a comma.
                self.expected.extend_from_slice(text.replace(',', ", ").as_bytes());
            }
            Role::Courier => {
                for line in String::from_utf8_lossy(words).lines() {
                    let Some((order, number)) = line.split_once(' ') else { continue };
                    match order {
                        "stay" => self.stays = true,
                        "get" | "fetch" => self.dots += number.parse::<usize>().unwrap_or(0),
                        "fail" => self.doomed += 1,
                        order => *self.answers.entry(format!("{number} {order}")).or_default() += 1,
                    }
                }
            }
            Role::Chat => {
                let mut end = self.sent;
                for line in words.split_inclusive(|byte| *byte == b'\n') {
                    end += line.len();
                    if line.contains(&b':') {
                        self.lines_end.push(end);
                    }
                }
            }
            Role::Upload => self.upload.add(words),
            Role::Web => self.asked.sent(words),
            Role::Viewer | Role::Publisher => {}
            Role::File | Role::Time | Role::Quote | Role::Discard | Role::Noise => {}
        }
        self.sent += words.len();
        true
    }

    /// Checks what holds at any time: nothing came that was not asked for.
    pub fn check(&self) -> Result<(), String> {
        match self.role {
            Role::Echo | Role::Upper | Role::Number | Role::Json => {
                let common = self.received.iter().zip(&self.expected).take_while(|(a, b)| a == b).count();
                // A farewell may follow, and its first byte may be the expected one.
                let is_farewell =
                    |from: usize| self.role != Role::Echo && is_farewell(&self.received[from..]);
                if common < self.received.len()
                    && !is_farewell(common)
                    && !is_farewell(common.saturating_sub(1))
                {
                    return Err(self.complain(&format!("byte {common} of the answers is wrong")));
                }
            }
            Role::File => self.requests.check().map_err(|what| self.complain(&what))?,
            // A farewell may come in place of the first words, or after them.
            Role::Upload
                if !READY.starts_with(&self.received)
                    && !is_farewell(self.received.strip_prefix(READY).unwrap_or(&self.received)) =>
            {
                return Err(self.complain("upload said something else"));
            }
            Role::Web => {
                self.asked.check(&self.received, false).map_err(|what| self.complain(&what))?;
            }
            Role::Discard if !self.received.is_empty() => {
                return Err(self.complain("discard has answered"));
            }
            Role::Viewer | Role::Publisher => {
                video::check(&self.received).map_err(|what| self.complain(&what))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks what must hold once nothing is in flight any more.
    pub fn check_all(&self, end_of: Option<&str>) -> Result<(), String> {
        self.check()?;
        if self.left {
            return Ok(());
        }
        let excuse = end_of.is_some_and(|why| !matches!(why, "closed by the peer" | "closed by us"));
        // The server waits ten seconds for the peer's end after an orderly close.
        let excuse = excuse || self.was_lazy && self.ended == Some(End::Reset) && end_of.is_some();
        match (self.ended, self.role) {
            // It ended for a reason, so nothing more is promised.
            (Some(_), _) if excuse => Ok(()),
            (Some(End::Reset), _) => Err(self.complain(&format!("reset without a reason: {end_of:?}"))),
            (_, Role::Time) if self.is_accepted() || self.ended.is_some() => match self.received.len() {
                24 => Ok(()),
                length => Err(self.complain(&format!("the time came as {length} bytes"))),
            },
            (_, Role::Quote) if self.received.is_empty() && self.ended.is_some() => {
                Err(self.complain("no quote came"))
            }
            (_, Role::Echo | Role::Upper | Role::Number | Role::Json)
                if self.is_accepted() || self.ended.is_some() =>
            {
                if self.received == self.expected {
                    Ok(())
                } else {
                    let (came, due) = (self.received.len(), self.expected.len());
                    Err(self
                        .complain(&format!("{came} of {due} bytes were answered, and it ended: {end_of:?}")))
                }
            }
            (_, Role::File)
                if (self.is_accepted() || self.ended.is_some()) && !self.requests.is_answered() =>
            {
                Err(self.complain("requests are unanswered"))
            }
            (_, Role::Web) if self.is_accepted() || self.ended.is_some() => {
                self.asked.check(&self.received, true).map_err(|what| self.complain(&what))
            }
            (_, Role::Courier) if self.is_accepted() || self.ended.is_some() => self.check_answers(),
            _ => Ok(()),
        }
    }

    /// Whoever went on reading was never reset for not taking its output.
    pub fn check_timeout(&self, end_of: Option<&str>) -> Result<(), String> {
        let is_reset = end_of == Some("timed out, output not taken");
        if is_reset && !self.has_paused && !self.left {
            return Err(self.complain("was reset for not taking its output, although it went on reading"));
        }
        Ok(())
    }

    fn check_answers(&self) -> Result<(), String> {
        if self.ended.is_some() {
            // A half-close ends it in order, perhaps with jobs still in flight.
            return Ok(());
        }
        let mut answers = self.answers.clone();
        let dots = self.received.iter().filter(|byte| **byte == b'.').count();
        if dots != self.dots {
            return Err(self.complain(&format!("{dots} of {} bytes of long answers came", self.dots)));
        }
        // Other answers may come between the parts of a long one.
        let lines: Vec<u8> = self.received.iter().copied().filter(|byte| *byte != b'.').collect();
        // Jobs that the queue had no room for, and jobs that failed; the answers do not say which.
        let (mut full, mut failed, mut frame) = (0, 0, 0);
        for line in String::from_utf8_lossy(&lines).lines() {
            let line = match line.split_once(' ') {
                Some((number, "done")) => format!("{number} job"),
                Some((number, "posted")) => format!("{number} post"),
                None if line.starts_with('#') => {
                    let number = line[1..].parse::<u32>().unwrap_or(0);
                    if number <= frame {
                        return Err(self.complain(&format!("saw frame {line} after {frame}")));
                    }
                    frame = number;
                    continue;
                }
                None if line == "full" => {
                    full += 1;
                    continue;
                }
                None if line == "failed" => {
                    failed += 1;
                    continue;
                }
                _ => line.to_owned(),
            };
            match answers.get_mut(&line) {
                Some(count) if *count > 0 => *count -= 1,
                _ => {
                    return Err(
                        self.complain(&format!("{:.40} was not asked for, or was answered twice", line))
                    );
                }
            }
        }
        let missing: u32 =
            answers.iter().filter(|(answer, _)| answer.ends_with("job")).map(|(_, count)| count).sum();
        if failed > self.doomed || failed + full != missing + self.doomed {
            let doomed = self.doomed;
            return Err(self.complain(&format!(
                "{missing} jobs and {doomed} failing ones are unanswered, with {failed} failures and {full} refusals"
            )));
        }
        let other = answers.iter().find(|(answer, count)| **count > 0 && !answer.ends_with("job"));
        match other {
            Some((answer, _)) => Err(self.complain(&format!("{answer:.40} was never answered"))),
            None => Ok(()),
        }
    }

    /// The chat lines that it received: for each speaker, the numbers in order of
    /// arrival.
    pub fn heard(&self) -> Result<BTreeMap<usize, Vec<u32>>, String> {
        let mut heard: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let text = String::from_utf8_lossy(&self.received);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.split('\n') {
            let line = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
                Some((_, said)) => said,
                None => line,
            };
            if line.is_empty() || line.starts_with('*') || line.starts_with("u:") {
                continue;
            }
            let numbers =
                line.split_once(':').and_then(|(who, what)| Some((who.parse().ok()?, what.parse().ok()?)));
            let Some((who, what)) = numbers else {
                return Err(self.complain(&format!("heard {line:?}, which nobody sent")));
            };
            heard.entry(who).or_default().push(what);
        }
        Ok(heard)
    }

    /// How many bytes of answers came; frames, which it did not ask for, do not count.
    pub fn answered(&self) -> usize {
        match self.role {
            Role::Courier => self.received.iter().filter(|byte| **byte == b'.').count(),
            // A stream never comes to its end.
            Role::Web if self.asked.streams => 0,
            _ => self.received.len(),
        }
    }

    /// How many numbered lines it has sent.
    pub fn said(&self) -> u32 {
        self.said
    }

    /// The number of the last line among its first `bytes` bytes.
    pub fn last_line_of(&self, bytes: usize) -> u32 {
        self.lines_end.partition_point(|end| *end <= bytes) as u32
    }

    /// Whether it fills up its room, so that others are left unread.
    pub fn shouts(&self) -> bool {
        self.shouts
    }

    pub fn complain(&self, what: &str) -> String {
        format!("client {} ({:?}, {}): {what}", self.number, self.role, self.address)
    }
}

fn is_farewell(rest: &[u8]) -> bool {
    let text = String::from_utf8_lossy(rest);
    ["too many connections", "nothing was sent", "the message took", "the line is"]
        .iter()
        .any(|words| text.contains(words) || words.starts_with(&*text))
        || text.starts_with("{\"error")
        || "{\"error".starts_with(&*text)
}

fn word(line: &str) -> &'static str {
    match line.trim_matches([' ', '\t', '\r', '\n', '\x0C']) {
        "1" => "one",
        "7" => "seven",
        "10" => "ten",
        _ => "Try again",
    }
}
