//! hello: answers every datagram with a greeting.

use std::net::SocketAddr;

use crate::config::HelloConfig;
use crate::reactor::SocketId;
use crate::service::{Context, Service};

/// The hello service.
#[derive(Debug)]
pub struct Hello {
    message: String,
}

impl Hello {
    /// A hello service with the configured greeting.
    pub fn new(config: &HelloConfig) -> Hello {
        Hello { message: config.message.clone() }
    }
}

impl Service for Hello {
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
    fn every_datagram_is_greeted_an_empty_one_too() {
        let mut stage = Rehearsal::new(Hello::new(&HelloConfig::default()));
        let (one, other) = (([127, 0, 0, 1], 41_000).into(), ([127, 0, 0, 1], 41_001).into());
        stage.datagram(one, "안녕".as_bytes());
        stage.datagram(other, b"");
        let greeting = b"Hello UDP Client".to_vec();
        assert_eq!(stage.datagrams(), [(one, greeting.clone()), (other, greeting)]);
    }
}
