//! The state machine: frames come from one publisher or source, and go to everyone who
//! wants them, in the form that they want.

mod publishing;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::frames::{Dark, Form, Frame, Subscribe, Unsubscribe};
use super::material::{Coded, Material};
use super::publisher::{Publisher, SILENCE, Session, Tally};
use super::recording::{Recorder, Written};
use super::screen::{Screen, Shown};
use super::source::{self, Played, Player, Upstream};
use crate::media::PictureError;
use crate::service::{
    Answer, CloseReason, Context, Farewell, Input, Lane, Membership, Message, Overflow, Room, Service,
    SocketId,
};
use crate::wire::jpeg;

/// The room of the TCP viewers.
const VIEWERS: Room = Room(0);
/// A JPEG's size stands in its head. Cameras put a thumbnail before it, of 64 KiB at most.
const JPEG_HEAD: usize = 256 * 1024;

/// What a video service needs to know to start.
#[derive(Debug)]
pub(super) struct Setup {
    pub name: String,
    /// The form in which TCP viewers get the frames.
    pub encoding: Form,
    pub source: Source,
    /// The most bytes of a frame, as it comes and as pixels.
    pub frame_size: usize,
    /// The quality of the JPEGs that the service makes.
    pub quality: u8,
    pub recorder: Option<Recorder>,
}

/// Where frames come from.
#[derive(Debug)]
pub(super) enum Source {
    /// From whoever publishes; while nobody does, from the player.
    Auto(Player),
    Publish,
    Player(Player),
    Service(Upstream),
}

/// The video service.
#[derive(Debug)]
pub struct Video {
    name: String,
    encoding: Form,
    source: Source,
    frame_size: usize,
    quality: u8,
    publisher: Option<Publisher>,
    viewers: usize,
    /// The services that its frames are posted to, each in one form.
    subscribers: Vec<Subscribe>,
    screen: Screen,
    recorder: Option<Recorder>,
    /// Datagrams that were not taken, since somebody else publishes or nobody may.
    refused: Tally,
    /// Datagrams that were no pieces of a frame.
    foreign: Tally,
    tick_at: Option<Instant>,
}

/// The answer of a coding job.
struct CodedFrame {
    form: Form,
    number: u64,
    published: Instant,
    result: Result<Coded, PictureError>,
}

impl Video {
    pub(super) fn new(setup: Setup) -> Video {
        let Setup { name, encoding, source, frame_size, quality, recorder } = setup;
        Video {
            name,
            encoding,
            source,
            frame_size,
            quality,
            publisher: None,
            viewers: 0,
            subscribers: Vec::new(),
            screen: Screen::default(),
            recorder,
            refused: Tally::default(),
            foreign: Tally::default(),
            tick_at: None,
        }
    }

    fn takes_publishers(&self) -> bool {
        matches!(self.source, Source::Auto(_) | Source::Publish)
    }

    fn wants(&self, form: Form) -> bool {
        self.encoding == form && self.viewers > 0
            || form == Form::Jpeg && self.recorder.is_some()
            || self.subscribers.iter().any(|subscriber| subscriber.form == form)
    }

    /// A new frame is there.
    fn show(&mut self, material: Material, published: Instant, cx: &mut Context<'_>) {
        let ready = material.ready();
        let number = self.screen.show(material, published);
        if let Some(coded) = ready {
            self.deliver(&coded, number, published, cx);
        }
        self.code(cx);
    }

    /// Has the newest frame coded in the forms that somebody wants and that are not ready.
    fn code(&mut self, cx: &mut Context<'_>) {
        for form in [Form::Jpeg, Form::Raw] {
            if !self.wants(form) {
                continue;
            }
            let Some(Shown { number, published, material }) = self.screen.begin_coding(form) else {
                continue;
            };
            let (quality, frame_size) = (self.quality, self.frame_size);
            // The frame outlives its publisher's connection.
            cx.offload_for_service(Lane::Code, move || {
                let code = || material.code(form, quality, frame_size);
                let result = catch_unwind(AssertUnwindSafe(code))
                    .unwrap_or_else(|_| Err(PictureError::Damaged("the decoder failed inside".into())));
                CodedFrame { form, number, published, result }
            });
        }
    }

    fn coded(&mut self, frame: CodedFrame, cx: &mut Context<'_>) {
        let CodedFrame { form, number, published, result } = frame;
        if let Err(error) = &result {
            cx.report(format!("frame {number} is left out: {error}"));
        }
        let coded = result.ok();
        if self.screen.coded(form, number, coded.clone())
            && let Some(coded) = coded
        {
            self.deliver(&coded, number, published, cx);
        }
        self.code(cx);
    }

    /// Sends a frame to everyone who wants this form.
    fn deliver(&mut self, coded: &Coded, number: u64, published: Instant, cx: &mut Context<'_>) {
        let form = coded.form();
        if form == self.encoding && self.viewers > 0 {
            cx.publish_latest(VIEWERS, coded.message());
        }
        if self.subscribers.iter().any(|subscriber| subscriber.form == form) {
            let frame = self.frame(coded, number, published);
            for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.form == form) {
                cx.post(&subscriber.to, Box::new(frame.clone()));
            }
        }
        if let (Some(recorder), Coded::Jpeg(jpeg)) = (&mut self.recorder, coded) {
            recorder.frame(jpeg.bytes(), published, cx);
        }
    }

    fn frame(&self, coded: &Coded, number: u64, published: Instant) -> Frame {
        let from = self.name.clone();
        match coded {
            Coded::Jpeg(coded) => {
                let bytes = coded.bytes();
                Frame { from, number, published, size: size_of(&bytes), jpeg: Some(bytes), raw: None }
            }
            Coded::Raw(raw) => {
                let size = Some((raw.width(), raw.height()));
                Frame { from, number, published, size, jpeg: None, raw: Some(raw.clone()) }
            }
        }
    }

    /// There is no picture any more.
    fn go_dark(&mut self, cx: &mut Context<'_>) {
        if self.screen.go_dark() {
            for subscriber in &self.subscribers {
                cx.post(&subscriber.to, Box::new(Dark { from: self.name.clone() }));
            }
        }
    }

    /// Switches the source on or off and codes what is wanted now, after somebody has come
    /// or left.
    fn follow_demand(&mut self, cx: &mut Context<'_>) {
        let is_wanted = self.wants(Form::Jpeg) || self.wants(Form::Raw);
        let ended = match &mut self.source {
            Source::Publish => false,
            Source::Auto(player) if self.publisher.is_some() => {
                player.end();
                false
            }
            Source::Auto(player) | Source::Player(player) if is_wanted => {
                player.begin(cx.now());
                false
            }
            Source::Auto(player) | Source::Player(player) => player.end(),
            Source::Service(upstream) if is_wanted => {
                upstream.begin(&self.name, cx);
                false
            }
            Source::Service(upstream) => upstream.end(&self.name, cx),
        };
        if ended {
            // It would be old when the next viewer comes.
            self.go_dark(cx);
        }
        self.code(cx);
        self.set_tick(cx);
    }

    fn set_tick(&mut self, cx: &mut Context<'_>) {
        let source = match &self.source {
            Source::Auto(player) | Source::Player(player) => player.due(),
            Source::Service(upstream) => upstream.due(),
            Source::Publish => None,
        };
        let silence = match &self.publisher {
            Some(Publisher::Peer(peer)) => Some(peer.heard + SILENCE),
            _ => None,
        };
        let at = source.into_iter().chain(silence).min();
        // A tick that comes early sets the next one; the datagrams of a frame move none.
        if let Some(at) = at
            && self.tick_at.is_none_or(|tick_at| tick_at > at)
        {
            self.tick_at = Some(at);
            cx.set_tick(at);
        }
    }

    /// Another video service has a new frame.
    fn hear(&mut self, frame: Frame, cx: &mut Context<'_>) {
        if let Source::Service(upstream) = &mut self.source
            && upstream.hears(&frame.from)
        {
            let published = frame.published;
            if let Some(material) = source::material(frame) {
                self.show(material, published, cx);
            }
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe, cx: &mut Context<'_>) {
        let (to, form) = (subscribe.to.clone(), subscribe.form);
        self.subscribers.retain(|subscriber| subscriber.to != to);
        self.subscribers.push(subscribe);
        match (self.screen.ready(form), self.screen.newest()) {
            (Some(coded), Some(newest)) => {
                cx.post(&to, Box::new(self.frame(coded, newest.number, newest.published)));
            }
            (None, Some(_)) => {}
            (_, None) => cx.post(&to, Box::new(Dark { from: self.name.clone() })),
        }
        self.follow_demand(cx);
    }
}

/// The size that a JPEG says it has.
pub(super) fn size_of(jpeg: &[u8]) -> Option<(u16, u16)> {
    jpeg::dimensions(&jpeg[..jpeg.len().min(JPEG_HEAD)])
}

impl Service for Video {
    type Session = Session;

    fn start(&mut self, cx: &mut Context<'_>) {
        self.follow_demand(cx);
    }

    fn open(&mut self, _: &mut Session, cx: &mut Context<'_>) {
        self.viewers += 1;
        cx.join(VIEWERS, Membership { overflow: Overflow::LatestFrame, lines: false });
        if let Some(coded) = self.screen.ready(self.encoding) {
            cx.send_latest(coded.message());
        }
        self.follow_demand(cx);
    }

    fn receive(&mut self, session: &mut Session, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if matches!(session, Session::Viewer) {
            self.admit(session, cx);
        }
        let goes_on = match session {
            Session::Publisher(incoming) => self.take_frames(incoming, input, cx),
            Session::Viewer | Session::Refused => false,
        };
        if !goes_on {
            input.consume_all();
            self.dismiss(session, cx);
        }
    }

    fn end_of_input(&mut self, session: &mut Session, _: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.close();
        if !matches!(session, Session::Viewer) {
            self.dismiss(session, cx);
        }
    }

    fn timeout(&mut self, session: &mut Session, input: &mut Input<'_>, cx: &mut Context<'_>) {
        input.consume_all();
        cx.close_for(Farewell::MessageTimeout);
        self.dismiss(session, cx);
    }

    fn closed(&mut self, session: Session, _: &CloseReason, cx: &mut Context<'_>) {
        if matches!(session, Session::Viewer) {
            self.viewers -= 1;
            self.follow_demand(cx);
        } else if self.is_publisher(cx) {
            self.publisher_left(cx);
        }
    }

    fn datagram(&mut self, _: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        self.take_datagram(from, datagram, cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.tick_at = None;
        if let Some(Publisher::Peer(peer)) = &self.publisher
            && peer.heard + SILENCE <= cx.now()
        {
            self.publisher_left(cx);
        }
        match &mut self.source {
            Source::Auto(player) | Source::Player(player) => player.play(cx),
            Source::Service(_) | Source::Publish => {}
        }
        self.follow_demand(cx);
    }

    fn finished(&mut self, _: Option<&mut Session>, answer: Answer, cx: &mut Context<'_>) {
        let answer = match answer.result {
            Ok(answer) => answer,
            Err(why) => {
                // Which job it was is not known, so each begins anew.
                cx.report(format!("a frame is left out: {why}"));
                self.screen.gave_up();
                if let Source::Auto(player) | Source::Player(player) = &mut self.source {
                    player.gave_up();
                }
                if let Some(recorder) = &mut self.recorder {
                    recorder.gave_up();
                }
                return self.follow_demand(cx);
            }
        };
        let answer = match answer.downcast::<CodedFrame>() {
            Ok(coded) => return self.coded(*coded, cx),
            Err(answer) => answer,
        };
        let answer = match answer.downcast::<Written>() {
            Ok(written) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.written(*written, cx);
                }
                return;
            }
            Err(answer) => answer,
        };
        if let Ok(played) = answer.downcast::<Played>()
            && let Source::Auto(player) | Source::Player(player) = &mut self.source
        {
            if let Some(material) = player.played(*played, cx) {
                self.show(material, cx.now(), cx);
            }
            self.set_tick(cx);
        }
    }

    fn message(&mut self, message: Message, cx: &mut Context<'_>) {
        let message = match message.downcast::<Frame>() {
            Ok(frame) => return self.hear(*frame, cx),
            Err(message) => message,
        };
        let message = match message.downcast::<Dark>() {
            Ok(dark) => {
                if let Source::Service(upstream) = &mut self.source
                    && upstream.hears(&dark.from)
                {
                    self.go_dark(cx);
                }
                return;
            }
            Err(message) => message,
        };
        let message = match message.downcast::<Subscribe>() {
            Ok(subscribe) => return self.subscribe(*subscribe, cx),
            Err(message) => message,
        };
        if let Ok(unsubscribe) = message.downcast::<Unsubscribe>() {
            self.subscribers.retain(|subscriber| subscriber.to != unsubscribe.to);
            self.follow_demand(cx);
        }
    }

    fn footprint(&self, session: &Session) -> usize {
        match session {
            Session::Publisher(incoming) => incoming.reader.held(),
            Session::Viewer | Session::Refused => 0,
        }
    }
}
