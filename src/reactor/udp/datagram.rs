//! A UDP socket of a service.

use std::io;

use super::batch::FEWEST_PER_CALL;
use crate::reactor::readiness::Latch;
use crate::service::ids::ServiceId;
use crate::service::options::SocketOptions;
use crate::service::rooms::Room;
use crate::service::sockets::DatagramSpec;
use crate::system::{DatagramSocket, System};

/// A UDP socket of a service.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub socket: DatagramSocket,
    pub service: ServiceId,
    /// What its service knows it by.
    pub tag: u64,
    pub listens_only: bool,
    /// Its port is the one that was asked for; else the system chose it.
    pub has_configured_port: bool,
    /// Messages that the next call asks for: what it has room for costs, too.
    pub batch: usize,
    pub latch: Latch,
    /// Receives in a row that failed.
    pub failures: u32,
    /// Until when it is left alone, since it failed again and again.
    pub retry_at: Option<u64>,
    /// The room that it publishes to: while that is full, it is left unread.
    pub room: Option<Room>,
}

impl Datagram {
    pub fn open(
        system: &System,
        spec: &DatagramSpec,
        options: &SocketOptions,
        service: ServiceId,
        tag: u64,
    ) -> io::Result<Datagram> {
        Ok(Datagram {
            socket: system.open_datagram(spec, options)?,
            service,
            tag,
            listens_only: spec.listens_only,
            has_configured_port: spec.bind.port() != 0,
            batch: FEWEST_PER_CALL,
            latch: Latch::default(),
            failures: 0,
            retry_at: None,
            room: None,
        })
    }

    pub fn port(&self) -> u16 {
        self.socket.address().port()
    }
}
