//! Records the frames as Motion JPEG in MP4 files, off the loop.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::hub::size_of;
use super::publisher::Tally;
use crate::files::{FileError, Growing, Name, Root};
use crate::media::mp4::{self, FRAGMENT_HEAD, Fragment};
use crate::service::{Context, Lane};

/// Frames that may wait while the disk is busy: a second of them. One more takes the place
/// of the oldest.
const MOST_WAITING: usize = 25;
/// Bytes that may wait.
const MOST_BYTES_WAITING: usize = 16 << 20;
/// How often what was written is brought to the disk. The kernel keeps it from a crash of
/// the program; this keeps it from a loss of power.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// How long after a failure a new file is begun.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Writes frames to a file, and to the next one once that is as large as a file may be.
///
/// Each frame goes to [`Recorder::frame`], the answer of each job to [`Recorder::written`].
/// One job is in the works at a time, and takes all frames that wait.
#[derive(Debug)]
pub(super) struct Recorder {
    root: Root,
    name: Name,
    /// `None` while a job has it.
    tape: Option<Box<Tape>>,
    waiting: VecDeque<(Bytes, Instant)>,
    skipped: Tally,
    /// When to try again after a failure.
    broken_until: Option<Instant>,
    /// Tells the job whose answer counts from those that were given up.
    job: u64,
}

/// The file that is being written, and what of the recording is not in it yet.
#[derive(Debug, Default)]
struct Tape {
    file: Option<Growing>,
    recording: mp4::Recording,
    /// The size of its pictures: a file has one.
    size: (u16, u16),
    began: Option<Instant>,
    /// What the frame takes whose fragment comes with the next frame.
    unwritten: u64,
    synced: Option<Instant>,
}

/// The answer of a job.
pub(super) struct Written {
    job: u64,
    tape: Box<Tape>,
    result: Result<(), String>,
    begun: Vec<String>,
}

impl Recorder {
    pub fn new(root: Root, name: Name) -> Recorder {
        let (waiting, skipped) = (VecDeque::new(), Tally::default());
        Recorder { root, name, tape: Some(Box::default()), waiting, skipped, broken_until: None, job: 0 }
    }

    pub fn frame(&mut self, jpeg: Bytes, published: Instant, cx: &mut Context<'_>) {
        if self.broken_until.is_some_and(|until| cx.now() < until) {
            return;
        }
        self.broken_until = None;
        self.waiting.push_back((jpeg, published));
        while self.waiting.len() > MOST_WAITING || self.bytes_waiting() > MOST_BYTES_WAITING {
            self.waiting.pop_front();
            if let Some(count) = self.skipped.adds_one(cx.now()) {
                cx.report(format!("frames not recorded, since the disk is too slow: {count} so far"));
            }
        }
        self.write(cx);
    }

    fn bytes_waiting(&self) -> usize {
        self.waiting.iter().map(|(jpeg, _)| jpeg.len()).sum()
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(mut tape) = self.tape.take() else { return };
        self.job += 1;
        let job = self.job;
        let frames = std::mem::take(&mut self.waiting);
        let (root, name) = (self.root.clone(), self.name.clone());
        cx.offload_for_service(Lane::Write, move || {
            let mut begun = Vec::new();
            let write = || {
                for (jpeg, published) in frames {
                    begun.extend(tape.frame(jpeg, published, &root, &name)?);
                }
                tape.sync_at_times()
            };
            let result = match catch_unwind(AssertUnwindSafe(write)) {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("writing failed inside".to_owned()),
            };
            if result.is_err() {
                // What could be written of it stays; the rest is not trusted.
                *tape = Tape::default();
            }
            Written { job, tape, result, begun }
        });
    }

    pub fn written(&mut self, written: Written, cx: &mut Context<'_>) {
        let Written { job, tape, result, begun } = written;
        if job != self.job {
            // It was given up, and dropping it uses the disk.
            return cx.offload_for_service(Lane::Write, move || drop(tape));
        }
        for name in begun {
            cx.report(format!("records to {name}"));
        }
        self.tape = Some(tape);
        if let Err(why) = result {
            cx.report(format!("records nothing for {} s: {why}", TRY_AGAIN_AFTER.as_secs()));
            self.broken_until = Some(cx.now() + TRY_AGAIN_AFTER);
            self.waiting.clear();
        }
        self.write(cx);
    }

    /// A job was refused, and its file is gone with it: the next frame begins a new one.
    pub fn gave_up(&mut self) {
        if self.tape.is_none() {
            self.job += 1;
            self.tape = Some(Box::default());
        }
    }
}

impl Tape {
    /// Takes a frame, and writes the one before. Returns the name of the file that this
    /// begins.
    fn frame(
        &mut self,
        jpeg: Bytes,
        published: Instant,
        root: &Root,
        name: &Name,
    ) -> Result<Option<String>, FileError> {
        // Players need to know the size. A JPEG that does not tell it cannot be shown anyway.
        let Some(size) = size_of(&jpeg) else { return Ok(None) };
        let length = (FRAGMENT_HEAD + jpeg.len()) as u64;
        let written = self.file.as_ref().map_or(0, Growing::written);
        let has_room = written + self.unwritten + length <= root.policy().max_file_size;
        if self.began.is_some() && (size != self.size || !has_room) {
            self.finish()?;
        }
        let mut begun = None;
        if self.began.is_none() {
            let file = root.grow(name)?;
            begun = Some(file.name().as_str().to_owned());
            *self = Tape { file: Some(file), size, began: Some(published), ..Tape::default() };
        }
        let began = self.began.unwrap_or(published);
        let fragment = self.recording.frame(jpeg, published.saturating_duration_since(began));
        self.unwritten = length;
        if let Some(fragment) = fragment {
            self.append(&fragment)?;
        }
        Ok(begun)
    }

    fn append(&mut self, Fragment { head, jpeg }: &Fragment) -> Result<(), FileError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        // The head of the file comes with the first frame, so that no file has none.
        let mut bytes = if file.written() == 0 { mp4::head(self.size.0, self.size.1) } else { Vec::new() };
        bytes.reserve_exact(head.len() + jpeg.len());
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(jpeg);
        file.append(&bytes)
    }

    /// Writes the last frame, so that another file can be begun.
    fn finish(&mut self) -> Result<(), FileError> {
        if let Some(fragment) = std::mem::take(&mut self.recording).finish() {
            self.append(&fragment)?;
        }
        if let Some(file) = &self.file {
            file.sync()?;
        }
        *self = Tape::default();
        Ok(())
    }

    fn sync_at_times(&mut self) -> Result<(), FileError> {
        let now = Instant::now();
        let since = *self.synced.get_or_insert(now);
        if now.saturating_duration_since(since) >= SYNC_EVERY {
            self.synced = Some(now);
            if let Some(file) = &self.file {
                file.sync()?;
            }
        }
        Ok(())
    }
}
