//! The live picture. The service subscribes to a video service only while somebody looks.
//!
//! Each frame becomes one part of the endless answer, in one piece of memory that all
//! viewers share. A viewer has at most one in flight and one waiting; a slow one skips
//! frames.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::answers::Answers;
use super::{Lasting, Next, Wanted};
use crate::service::{ConnectionId, Context, Membership, Message, Overflow, Room};
use crate::services::video::frames::{Dark, Form, Frame, Subscribe, Unsubscribe};
use crate::wire::http::Status;
use crate::wire::http::multipart;
use crate::wire::http::request::{Method, Request};

/// How long a request for one frame waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

const ROOM: Room = Room(2);
const HOW: Membership = Membership { overflow: Overflow::LatestFrame, lines: false };

/// The newest picture, and who looks at it.
#[derive(Debug)]
pub(super) struct Picture {
    /// The name of the service itself, under which it subscribes.
    name: String,
    /// The service whose picture it is.
    video: String,
    /// Connections that are sent every frame, as far as they take it.
    viewers: usize,
    /// Requests that want one frame.
    askers: usize,
    is_subscribed: bool,
    newest: Option<Newest>,
    /// Whether the video service has said that there is no picture.
    is_dark: bool,
    /// Requests that wait for a frame.
    waiting: Vec<ConnectionId>,
}

#[derive(Debug)]
struct Newest {
    jpeg: Bytes,
    /// The same as a part, made when the first viewer needs it.
    part: Option<Bytes>,
    shown: Shown,
}

/// What a page is told about the picture.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Shown {
    number: u64,
    size: Option<(u16, u16)>,
}

impl Newest {
    fn part(&mut self) -> Bytes {
        let jpeg = &self.jpeg;
        let make = || {
            let mut part = Vec::with_capacity(jpeg.len() + 128);
            multipart::write_part_head(jpeg.len(), &mut part);
            part.extend_from_slice(jpeg);
            part.extend_from_slice(multipart::PART_END);
            Bytes::from(part)
        };
        self.part.get_or_insert_with(make).clone()
    }
}

impl Picture {
    pub fn new(name: String, video: String) -> Picture {
        Picture {
            name,
            video,
            viewers: 0,
            askers: 0,
            is_subscribed: false,
            newest: None,
            is_dark: false,
            waiting: Vec::new(),
        }
    }

    /// What is shown, if anybody looks.
    pub fn shown(&self) -> Option<Shown> {
        self.newest.as_ref().map(|newest| newest.shown)
    }

    /// Whether the video service is to send frames.
    #[cfg(test)]
    pub fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    /// Begins to send pictures to this connection, the newest at once.
    pub fn begin(&mut self, answers: &mut Answers, request: &Request<'_>, cx: &mut Context<'_>) -> Next {
        let head = answers.head(Status::Ok, request, cx);
        let head = head.header("Content-Type", multipart::CONTENT_TYPE).header("Cache-Control", "no-store");
        head.without_length();
        answers.send(multipart::START, request, cx);
        if request.method == Method::Head {
            return Next::Last;
        }
        if let Some(newest) = &mut self.newest {
            cx.send_latest(newest.part());
        }
        cx.join(ROOM, HOW);
        self.viewers += 1;
        self.follow(cx);
        Next::Lasting(Lasting::Pictures)
    }

    /// A viewer has left.
    pub fn leave(&mut self, cx: &mut Context<'_>) {
        self.viewers -= 1;
        self.follow(cx);
    }

    /// A request does not wait for a frame any more.
    pub fn stop_waiting(&mut self, cx: &mut Context<'_>) {
        self.askers -= 1;
        self.follow(cx);
    }

    /// Answers with the newest frame. If nobody looks, there is none yet, and the request
    /// waits for it once.
    pub fn snapshot(
        &mut self,
        answers: &mut Answers,
        has_waited: bool,
        request: &Request<'_>,
        cx: &mut Context<'_>,
    ) -> Next {
        let jpeg = self.newest.as_ref().map(|newest| newest.jpeg.clone());
        let is_known = jpeg.is_some() || self.is_subscribed && self.is_dark;
        if !is_known && !has_waited {
            self.waiting.extend(cx.connection());
            self.askers += 1;
            self.follow(cx);
            return Next::Later(Wanted::Frame);
        }
        if has_waited {
            self.stop_waiting(cx);
        }
        match jpeg {
            Some(jpeg) => {
                let head = answers.head(Status::Ok, request, cx);
                let head = head.header("Content-Type", "image/jpeg").header("Cache-Control", "no-store");
                head.length(jpeg.len() as u64);
                answers.send_long(jpeg, request, cx)
            }
            None => answers.error(Status::ServiceUnavailable, "there is no picture now", request, cx),
        }
    }

    /// Subscribes or ends that, as somebody looks or nobody does.
    fn follow(&mut self, cx: &mut Context<'_>) {
        let wants = self.viewers + self.askers > 0;
        if wants == self.is_subscribed {
            return;
        }
        self.is_subscribed = wants;
        if wants {
            cx.post(&self.video, Box::new(Subscribe { to: self.name.clone(), form: Form::Jpeg }));
        } else {
            cx.post(&self.video, Box::new(Unsubscribe { to: self.name.clone() }));
            (self.newest, self.is_dark) = (None, false);
        }
    }

    /// Takes what the video service says; returns any other message.
    pub fn message(&mut self, message: Message, cx: &mut Context<'_>) -> Option<Message> {
        let message = match message.downcast::<Frame>() {
            Ok(frame) => {
                self.show(*frame, cx);
                return None;
            }
            Err(message) => message,
        };
        match message.downcast::<Dark>() {
            Ok(dark) if dark.from == self.video => {
                (self.newest, self.is_dark) = (None, self.is_subscribed);
                self.wake(cx);
                None
            }
            Ok(_) => None,
            Err(message) => Some(message),
        }
    }

    fn show(&mut self, frame: Frame, cx: &mut Context<'_>) {
        // One that was under way when the subscription ended is not wanted any more.
        let Frame { from, number, size, jpeg: Some(jpeg), .. } = frame else { return };
        if from != self.video || !self.is_subscribed {
            return;
        }
        let mut newest = Newest { jpeg, part: None, shown: Shown { number, size } };
        if self.viewers > 0 {
            cx.publish_latest(ROOM, newest.part());
        }
        (self.newest, self.is_dark) = (Some(newest), false);
        self.wake(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        for connection in self.waiting.drain(..) {
            cx.resume_other(connection);
        }
    }
}
