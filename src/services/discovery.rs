//! discovery: answers those who look for a server by broadcast.

use std::net::SocketAddr;

use crate::config::DiscoveryConfig;
use crate::reactor::SocketId;
use crate::service::{Context, Service};

/// The discovery service. Who sends a datagram to its port, to everybody or to
/// this host alone, learns by the answer's source where the server is.
///
/// On loopback it needs two sockets of one port, since one that is bound to
/// 127.0.0.1 does not receive what is sent to 127.255.255.255.
#[derive(Debug)]
pub struct Discovery {
    message: String,
}

impl Discovery {
    /// A discovery service with the configured answer.
    pub fn new(config: &DiscoveryConfig) -> Discovery {
        Discovery { message: config.message.clone() }
    }
}

impl Service for Discovery {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, _: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, self.message.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;

    #[test]
    fn whoever_looks_is_answered() {
        let mut stage = Rehearsal::new(Discovery::new(&DiscoveryConfig { message: "여기".into() }));
        let from = ([127, 0, 0, 1], 41_000).into();
        stage.datagram(from, b"anybody?");
        stage.datagram(from, b"");
        assert_eq!(
            stage.datagrams(),
            [(from, "여기".as_bytes().to_vec()), (from, "여기".as_bytes().to_vec())]
        );
    }
}
