//! `onepoll udp-file send` and `onepoll udp-file receive`: the course's file transfer over
//! UDP.
//!
//! A name, `ok`, the contents in datagrams, and an empty one at the end. Nothing in this
//! protocol shows that a datagram was lost or came late.

mod receive;
mod send;

use clap::{Parser, Subcommand};

use super::{ClientError, Run};

/// Send a file over UDP, or receive files, as the course's programs do
///
/// This protocol does not notice lost datagrams. Over a network that loses any, use get and
/// put, or tftp.
#[derive(Debug, Parser)]
#[command(name = "udp-file")]
pub struct UdpFileCommand {
    #[command(subcommand)]
    action: Action,
}

/// Which way files go.
#[derive(Debug, Subcommand)]
enum Action {
    /// Send a file: 16384 bytes per datagram, 2 ms apart
    Send(send::SendArgs),
    /// Receive files on a port, until Ctrl-C
    Receive(receive::ReceiveArgs),
}

impl Run for UdpFileCommand {
    /// Sends or receives.
    fn run(self) -> Result<(), ClientError> {
        match self.action {
            Action::Send(arguments) => send::run(arguments),
            Action::Receive(arguments) => receive::run(arguments),
        }
    }
}
