//! Where a video service gets its frames from, apart from publishers: it draws them,
//! reads them from files, or takes those of another video service.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::frames::{Form, Frame, Subscribe, Unsubscribe};
use super::material::{Jpeg, Material};
use crate::media::pattern::Pattern;
use crate::media::source::{self, SourceFrame};
use crate::service::{Context, Lane};

/// How long after a failure it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long another video service may take to answer; it does so in the same turn.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Makes frames by itself, one per interval, off the loop.
///
/// [`Player::begin`] and [`Player::end`] switch it on and off. When it is
/// [due](Player::due), [`Player::play`] offloads a job, whose answer goes to
/// [`Player::played`].
#[derive(Debug)]
pub(super) struct Player {
    kind: Kind,
    interval: Duration,
    due: Option<Instant>,
    is_busy: bool,
    /// The failure that the log was last told of.
    told: Option<String>,
}

#[derive(Debug)]
enum Kind {
    Pattern {
        pattern: Pattern,
        number: u64,
        zone: TimeZone,
    },
    File {
        path: PathBuf,
        frame_size: usize,
        /// `None` before it is opened, while a job has it, and after a failure.
        open: Option<source::Source>,
    },
}

/// The answer of a player's job.
pub(super) struct Played {
    started: Instant,
    file: Option<source::Source>,
    /// The frame, and how long it is to be shown if the file says so.
    frame: Result<(SourceFrame, Option<Duration>), String>,
}

impl Player {
    pub fn pattern(width: u16, height: u16, frames_per_second: u32) -> Player {
        let pattern = Pattern::new(width, height, frames_per_second);
        Player::of(Kind::Pattern { pattern, number: 0, zone: TimeZone::system() }, frames_per_second)
    }

    pub fn file(path: PathBuf, frame_size: usize, frames_per_second: u32) -> Player {
        Player::of(Kind::File { path, frame_size, open: None }, frames_per_second)
    }

    fn of(kind: Kind, frames_per_second: u32) -> Player {
        let interval = Duration::from_secs(1) / frames_per_second.max(1);
        Player { kind, interval, due: None, is_busy: false, told: None }
    }

    pub fn begin(&mut self, now: Instant) {
        self.due.get_or_insert(now);
    }

    /// Returns whether it was on.
    pub fn end(&mut self) -> bool {
        self.due.take().is_some()
    }

    /// When it wants to play the next frame.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    pub fn play(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        let Some(due) = self.due.filter(|due| *due <= now) else { return };
        // On a fixed schedule, so that delays do not add up. What was missed is skipped.
        let next = due + self.interval;
        self.due = Some(if next > now { next } else { now + self.interval });
        if std::mem::replace(&mut self.is_busy, true) {
            return;
        }
        match &mut self.kind {
            Kind::Pattern { pattern, number, zone } => {
                let (pattern, number_now) = (*pattern, *number);
                let clock = clock(cx.system_time(), zone);
                *number += 1;
                cx.offload_for_service(Lane::Code, move || {
                    let frame = SourceFrame::Picture(pattern.draw(number_now, &clock));
                    Played { started: now, file: None, frame: Ok((frame, None)) }
                });
            }
            Kind::File { path, frame_size, open } => {
                let (path, frame_size, open) = (path.clone(), *frame_size, open.take());
                cx.offload_for_service(Lane::Read, move || {
                    let next = || -> Result<_, source::SourceError> {
                        let mut file = open.map_or_else(|| source::Source::open(&path, frame_size), Ok)?;
                        let frame = file.next_frame()?;
                        Ok((file, frame))
                    };
                    match catch_unwind(AssertUnwindSafe(next)) {
                        Ok(Ok((file, frame))) => Played { started: now, file: Some(file), frame: Ok(frame) },
                        Ok(Err(error)) => Played { started: now, file: None, frame: Err(error.to_string()) },
                        Err(_) => {
                            let why = format!("{} cannot be decoded", path.display());
                            Played { started: now, file: None, frame: Err(why) }
                        }
                    }
                });
            }
        }
    }

    /// Takes the answer of its job. Returns the frame, unless it was switched off meanwhile.
    pub fn played(&mut self, played: Played, cx: &mut Context<'_>) -> Option<Material> {
        self.is_busy = false;
        let Played { started, file, frame } = played;
        if let Kind::File { open, .. } = &mut self.kind {
            *open = file;
        }
        self.due?;
        match frame {
            Ok((frame, shown_for)) => {
                if let Some(shown_for) = shown_for {
                    self.due = Some(started + shown_for);
                }
                self.told = None;
                Some(match frame {
                    SourceFrame::Jpeg(jpeg) => Material::Jpeg(Jpeg::of(&jpeg)),
                    SourceFrame::Picture(picture) => Material::Picture(picture.into()),
                })
            }
            Err(why) => {
                self.due = Some(cx.now() + TRY_AGAIN_AFTER);
                if self.told.as_ref() != Some(&why) {
                    cx.report(format!("no picture: {why}"));
                    self.told = Some(why);
                }
                None
            }
        }
    }

    /// Its job was refused.
    pub fn gave_up(&mut self) {
        self.is_busy = false;
    }
}

/// The local time with milliseconds.
fn clock(now: SystemTime, zone: &TimeZone) -> String {
    // Only a clock set thousands of years off is out of range.
    let now = Timestamp::try_from(now).unwrap_or_default();
    now.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f").to_string()
}

/// Takes the frames of another video service, in one form.
#[derive(Debug)]
pub(super) struct Upstream {
    service: String,
    form: Form,
    is_subscribed: bool,
    /// When to ask again, unless it has answered by then.
    ask_again: Option<Instant>,
    was_missing: bool,
}

impl Upstream {
    pub fn new(service: String, form: Form) -> Upstream {
        Upstream { service, form, is_subscribed: false, ask_again: None, was_missing: false }
    }

    /// Asks for frames, or asks again if nobody has answered.
    pub fn begin(&mut self, own_name: &str, cx: &mut Context<'_>) {
        let is_late = self.ask_again.is_some_and(|at| at <= cx.now());
        if self.is_subscribed && !is_late {
            return;
        }
        if is_late && !std::mem::replace(&mut self.was_missing, true) {
            cx.report(format!("no picture: no video service {} is running", self.service));
        }
        let subscribe = Subscribe { to: own_name.to_owned(), form: self.form };
        cx.post(&self.service, Box::new(subscribe));
        self.is_subscribed = true;
        let patience = if self.was_missing { TRY_AGAIN_AFTER } else { ANSWER_WITHIN };
        self.ask_again = Some(cx.now() + patience);
    }

    /// Asks for no more frames. Returns whether it had asked for them.
    pub fn end(&mut self, own_name: &str, cx: &mut Context<'_>) -> bool {
        if self.is_subscribed {
            cx.post(&self.service, Box::new(Unsubscribe { to: own_name.to_owned() }));
        }
        self.ask_again = None;
        std::mem::take(&mut self.is_subscribed)
    }

    /// When to call [`Upstream::begin`] again.
    pub fn due(&self) -> Option<Instant> {
        self.ask_again
    }

    /// Whether news from this service is to be heeded; it has answered then.
    pub fn hears(&mut self, from: &str) -> bool {
        let heeds = self.is_subscribed && from == self.service;
        if heeds {
            (self.ask_again, self.was_missing) = (None, false);
        }
        heeds
    }
}

/// What a frame of another video service holds.
pub(super) fn material(Frame { jpeg, raw, .. }: Frame) -> Option<Material> {
    let of_jpeg = |jpeg: Bytes| Material::Jpeg(Jpeg::of(&jpeg));
    raw.map(Material::Raw).or_else(|| jpeg.map(of_jpeg))
}
