//! beacon: broadcasts a message at an interval.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::BeaconConfig;
use crate::reactor::{DatagramPeer, SocketId};
use crate::service::{Context, Service};

/// The beacon service: one socket that only sends.
#[derive(Debug)]
pub struct Beacon {
    message: String,
    interval: Duration,
    destination: SocketAddr,
    socket: Option<SocketId>,
    /// When the next datagram is due.
    due: Option<Instant>,
}

impl Beacon {
    /// A beacon that sends the configured message to `destination`.
    pub fn new(config: &BeaconConfig, destination: SocketAddr) -> Beacon {
        Beacon {
            message: config.message.clone(),
            interval: config.interval,
            destination,
            socket: None,
            due: None,
        }
    }
}

impl Service for Beacon {
    type Session = ();

    fn socket(&mut self, opened: io::Result<SocketId>, _: &mut Context<'_>) {
        self.socket = opened.ok().or(self.socket);
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.set_tick(cx.now());
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some(socket) = self.socket else { return };
        let to = DatagramPeer { socket, address: self.destination, local: None };
        cx.send_to_peer(to, self.message.as_bytes());
        // By the schedule, so that lateness does not add up. After a long
        // sleep what was missed is left out.
        let next = self.due.unwrap_or(cx.now()) + self.interval;
        let next = if next > cx.now() { next } else { cx.now() + self.interval };
        self.due = Some(next);
        cx.set_tick(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;
    use std::net::Ipv4Addr;

    const DESTINATION: ([u8; 4], u16) = ([127, 255, 255, 255], 37_020);

    fn stage() -> Rehearsal<Beacon> {
        let config = BeaconConfig::bound_to(Ipv4Addr::LOCALHOST.into());
        Rehearsal::new(Beacon::new(&config, DESTINATION.into()))
    }

    #[test]
    fn it_sends_at_once_and_then_at_every_interval() {
        let mut stage = stage();
        stage.pass(Duration::ZERO);
        assert_eq!(stage.datagrams(), [(DESTINATION.into(), b"broadcast message".to_vec())]);
        stage.pass(Duration::from_millis(999));
        assert_eq!(stage.datagrams(), []);
        stage.pass(Duration::from_millis(1));
        assert_eq!(stage.datagrams().len(), 1);
        stage.pass(Duration::from_secs(100));
        assert_eq!(stage.datagrams().len(), 100);
    }

    #[test]
    fn a_late_tick_does_not_move_the_schedule() {
        let mut stage = stage();
        stage.pass(Duration::ZERO);
        stage.oversleep(Duration::from_millis(1_400));
        assert_eq!(stage.datagrams().len(), 2);
        stage.pass(Duration::from_millis(600));
        assert_eq!(stage.datagrams().len(), 1);
    }

    #[test]
    fn after_a_long_sleep_what_was_missed_is_left_out() {
        let mut stage = stage();
        stage.pass(Duration::ZERO);
        stage.oversleep(Duration::from_secs(3_600));
        assert_eq!(stage.datagrams().len(), 2);
        stage.pass(Duration::from_millis(999));
        assert_eq!(stage.datagrams(), []);
    }

    #[test]
    fn what_it_is_sent_is_not_answered() {
        let mut stage = stage();
        stage.datagrams();
        stage.datagram(([127, 0, 0, 1], 41_000).into(), b"hello");
        assert_eq!(stage.datagrams(), []);
    }
}
