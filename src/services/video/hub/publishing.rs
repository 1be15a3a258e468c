//! Publishers: who may publish, and what they send.

use std::net::SocketAddr;
use std::time::Instant;

use super::{VIEWERS, Video};
use crate::media::Picture;
use crate::service::{Context, Input};
use crate::services::video::material::Material;
use crate::services::video::publisher::{Incoming, Peer, Publisher, Session, Tally};
use crate::wire::datagram_frames::{self, FrameAssembler, HEIGHT, WIDTH};

impl Video {
    /// Makes the connection the publisher.
    pub(super) fn admit(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        cx.leave(VIEWERS);
        self.viewers -= 1;
        let refusal = match &self.publisher {
            _ if !self.takes_publishers() => Some("its frames come from elsewhere"),
            Some(_) => Some("somebody else publishes"),
            None => None,
        };
        *session = match (refusal, cx.connection()) {
            (None, Some(connection)) => {
                self.publisher = Some(Publisher::Connection(connection));
                Session::Publisher(Incoming::default())
            }
            (refusal, _) => {
                cx.report(format!("{} is refused: {}", peer_of(cx), refusal.unwrap_or_default()));
                cx.close();
                Session::Refused
            }
        };
        self.follow_demand(cx);
    }

    /// Takes up the frames of a publisher. Returns false if it is to be closed.
    pub(super) fn take_frames(
        &mut self,
        incoming: &mut Incoming,
        input: &mut Input<'_>,
        cx: &mut Context<'_>,
    ) -> bool {
        let mut has_finished = false;
        while !input.unread().is_empty() && cx.may_go_on(input) {
            let refusal = match incoming.reader.next(input.unread(), self.frame_size) {
                Err(too_long) => too_long.to_string(),
                Ok((used, None)) => {
                    input.consume(used);
                    continue;
                }
                Ok((used, Some(message))) => {
                    input.consume(used);
                    has_finished = true;
                    match Material::of_message(message, self.frame_size) {
                        Ok(material) => {
                            self.show(material, cx.now(), cx);
                            continue;
                        }
                        Err(refusal) => refusal,
                    }
                }
            };
            cx.report(format!("{} is refused: {refusal}", peer_of(cx)));
            cx.close();
            return false;
        }
        incoming.wait(has_finished, cx);
        true
    }

    /// The connection is being closed. If it published, somebody else may from now on.
    pub(super) fn dismiss(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        *session = Session::Refused;
        if self.is_publisher(cx) {
            self.publisher_left(cx);
        }
    }

    /// The publisher leaves, and its newest frame is forgotten.
    pub(super) fn publisher_left(&mut self, cx: &mut Context<'_>) {
        if let Some(Publisher::Peer(peer)) = self.publisher.take()
            && let Some(count) = peer.incomplete.rest()
        {
            cx.report(format!("frames from {} that did not arrive whole: {count}", peer.address));
        }
        self.go_dark(cx);
        self.follow_demand(cx);
    }

    pub(super) fn is_publisher(&self, cx: &Context<'_>) -> bool {
        matches!(&self.publisher, Some(Publisher::Connection(connection)) if Some(*connection) == cx.connection())
    }

    /// Finds the publisher that a piece of a frame is from, who may be new.
    fn peer(&mut self, from: SocketAddr, now: Instant) -> Option<&mut Peer> {
        if self.publisher.is_none() && self.takes_publishers() {
            let (assembler, incomplete) = (FrameAssembler::default(), Tally::default());
            let peer = Peer { address: from, heard: now, assembler, incomplete };
            self.publisher = Some(Publisher::Peer(Box::new(peer)));
        }
        match &mut self.publisher {
            Some(Publisher::Peer(peer)) if peer.address == from => Some(peer),
            _ => None,
        }
    }

    /// Takes a piece of a frame.
    pub(super) fn take_datagram(&mut self, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        let now = cx.now();
        if let Err(why) = datagram_frames::piece(datagram) {
            if let Some(count) = self.foreign.adds_one(now) {
                cx.report(format!(
                    "datagrams that are no pieces of a frame: {count} so far, the last from {from}: {why}"
                ));
            }
            return;
        }
        let is_new = self.publisher.is_none();
        let Some(peer) = self.peer(from, now) else {
            if let Some(count) = self.refused.adds_one(now) {
                let why =
                    if self.publisher.is_some() { "somebody else publishes" } else { "nobody may publish" };
                cx.report(format!("pieces of frames refused: {count} so far, the last from {from}: {why}"));
            }
            return;
        };
        peer.heard = now;
        let frame = peer.assembler.receive(datagram, now).unwrap_or_default();
        if let Some(count) = peer.incomplete.reaches(peer.assembler.incomplete(), now) {
            cx.report(format!("frames from {from} that did not arrive whole: {count} so far"));
        }
        if let Some(frame) = frame {
            self.show_pixels(frame, cx);
        }
        if is_new {
            self.follow_demand(cx);
        }
    }

    /// A frame came over UDP, as pixels.
    fn show_pixels(&mut self, frame: Vec<u8>, cx: &mut Context<'_>) {
        if let Some(picture) = Picture::new(WIDTH as u16, HEIGHT as u16, frame) {
            self.show(Material::Picture(picture.into()), cx.now(), cx);
        }
    }
}

/// The address of the peer that a callback is about.
fn peer_of(cx: &Context<'_>) -> String {
    cx.peer().map_or_else(|| "a client".into(), |peer| peer.to_string())
}
