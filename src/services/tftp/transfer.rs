//! One transfer: the state machine of its side, and its file.

use std::time::Instant;

use super::disk::{Chunk, Done, Reader, Upload, What};
use crate::files::{FileError, Found, Stored};
use crate::service::{Context, DatagramPeer, Lane, SocketId};
use crate::services::transfers::{self, Way};
use crate::wire::tftp::{ErrorCode, Failure, Mode, Options, Receiver, Sender};

/// A transfer, from the request to its end.
pub(super) struct Transfer {
    /// The client, at the socket that it asked.
    pub peer: DatagramPeer,
    /// The request as it came: the same once more is a duplicate.
    pub request: Vec<u8>,
    pub mode: Mode,
    pub asked: Options,
    /// Where packets come and go, once it is open.
    pub socket: Option<SocketId>,
    pub line: transfers::Transfer,
    pub side: Side,
    /// A job is under way. There is never more than one.
    pub is_busy: bool,
}

/// What this end does.
pub(super) enum Side {
    /// The file is yet to be opened.
    Opening,
    Sending(Sending),
    Receiving(Receiving),
}

pub(super) struct Sending {
    sender: Sender,
    reader: Reader,
    read: u64,
    size: u64,
}

pub(super) struct Receiving {
    receiver: Receiver,
    /// `None` while a job has it.
    upload: Option<Upload>,
    stored: bool,
}

/// The code and the words for a client whose file is not handed out or taken.
pub(super) fn refusal(error: &FileError) -> (ErrorCode, String) {
    let code = match error {
        FileError::NotFound => ErrorCode::FileNotFound,
        FileError::Denied | FileError::BadName(_) | FileError::ReadOnly => ErrorCode::AccessViolation,
        FileError::TooLarge(_) | FileError::NoRoom(_) | FileError::DiskFull | FileError::TooManyFiles(_) => {
            ErrorCode::DiskFull
        }
        FileError::Taken => ErrorCode::FileExists,
        FileError::WrongSum
        | FileError::WrongSize { .. }
        | FileError::Changed
        | FileError::Busy
        | FileError::Unavailable(_)
        | FileError::Io(_) => ErrorCode::Undefined,
    };
    (code, error.to_string())
}

impl Transfer {
    /// The file is open: begins to send it.
    pub fn send(&mut self, found: &Found, first: &Chunk, options: Options) {
        let mut sender = Sender::for_server(options);
        sender.supply(&first.bytes, first.is_last);
        let reader = Reader::new(found, self.mode);
        self.side = Side::Sending(Sending { sender, reader, read: first.end, size: found.size });
    }

    /// There is a file to write to: begins to receive.
    pub fn receive(&mut self, upload: Upload, options: Options) {
        let receiver = Receiver::for_server(options);
        self.side = Side::Receiving(Receiving { receiver, upload: Some(upload), stored: false });
    }

    /// Takes a datagram of the client.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) {
        match &mut self.side {
            Side::Opening => {}
            Side::Sending(sending) => sending.sender.handle(datagram, now),
            Side::Receiving(receiving) => receiving.receiver.handle(datagram, now),
        }
    }

    pub fn due(&self) -> Option<Instant> {
        match &self.side {
            Side::Opening => None,
            Side::Sending(sending) => sending.sender.due(),
            Side::Receiving(receiving) => receiving.receiver.due(),
        }
    }

    pub fn expire(&mut self, now: Instant) {
        match &mut self.side {
            Side::Opening => {}
            Side::Sending(sending) => sending.sender.expire(now),
            Side::Receiving(receiving) => receiving.receiver.expire(now),
        }
    }

    /// Ends it with an error for the client.
    pub fn fail(&mut self, code: ErrorCode, text: &str) {
        match &mut self.side {
            Side::Opening => {}
            Side::Sending(sending) => sending.sender.fail(code, text),
            Side::Receiving(receiving) => receiving.receiver.fail(code, text),
        }
    }

    /// Whether only a delayed acknowledgement is still to be repeated: the client may go
    /// on to its next file.
    pub fn is_over(&self) -> bool {
        match &self.side {
            Side::Opening | Side::Sending(_) => false,
            Side::Receiving(receiving) => receiving.receiver.is_dallying(),
        }
    }

    /// Whether the client has answered at the socket of this transfer.
    pub fn was_answered(&self) -> bool {
        match &self.side {
            Side::Opening => false,
            Side::Sending(sending) => sending.sender.was_answered(),
            Side::Receiving(receiving) => receiving.receiver.was_answered(),
        }
    }

    pub fn next_packet(&mut self, packet: &mut Vec<u8>, now: Instant) -> bool {
        match &mut self.side {
            Side::Opening => false,
            Side::Sending(sending) => sending.sender.next_packet(packet, now),
            Side::Receiving(receiving) => receiving.receiver.next_packet(packet, now),
        }
    }

    pub fn outcome(&self) -> Option<&Result<(), Failure>> {
        match &self.side {
            Side::Opening => None,
            Side::Sending(sending) => sending.sender.outcome(),
            Side::Receiving(receiving) => receiving.receiver.outcome(),
        }
    }

    /// Whether the client was sent something, and has never answered.
    pub fn is_unanswered(&self) -> bool {
        self.socket.is_some() && !self.is_busy && !self.was_answered()
    }

    /// Has the disk do what there is to do.
    pub fn use_disk(&mut self, transfer: u64, cx: &mut Context<'_>) {
        if self.is_busy {
            return;
        }
        match &mut self.side {
            Side::Opening => {}
            Side::Sending(Sending { sender, reader, read, .. }) => {
                let Some(wanted) = sender.wants() else { return };
                let (reader, start) = (reader.clone(), *read);
                cx.offload(Lane::Read, move || Done {
                    transfer,
                    what: What::Read(reader.read(start, wanted)),
                });
                self.is_busy = true;
            }
            Side::Receiving(Receiving { receiver, upload, .. }) => {
                if upload.is_none() {
                    return;
                }
                let Some((bytes, is_last)) = receiver.take() else { return };
                let Some(upload) = upload.take() else { return };
                cx.offload(Lane::Write, move || Done { transfer, what: upload.write(&bytes, is_last) });
                self.is_busy = true;
            }
        }
    }

    /// More of the file was read.
    pub fn was_read(&mut self, chunk: Result<Chunk, FileError>) {
        let Side::Sending(Sending { sender, read, .. }) = &mut self.side else { return };
        match chunk {
            Ok(chunk) => {
                *read = chunk.end;
                sender.supply(&chunk.bytes, chunk.is_last);
            }
            Err(error) => {
                let (code, text) = refusal(&error);
                sender.fail(code, &text);
            }
        }
    }

    /// What came so far was written.
    pub fn was_written(&mut self, written: Result<Upload, FileError>) {
        let Side::Receiving(Receiving { receiver, upload, .. }) = &mut self.side else { return };
        match written {
            Ok(written) => *upload = Some(written),
            Err(error) => {
                let (code, text) = refusal(&error);
                receiver.fail(code, &text);
            }
        }
    }

    /// The file is stored, or cannot be.
    pub fn was_stored(&mut self, service: &str, outcome: Result<Stored, FileError>, now: Instant) {
        let Side::Receiving(Receiving { receiver, stored, .. }) = &mut self.side else { return };
        match outcome {
            Ok(Stored { name, size, .. }) => {
                *stored = true;
                self.line.stored_as(name.as_str());
                self.line.complete(service, Way::In, size, now);
                receiver.stored(now);
            }
            Err(error) => {
                let (code, text) = refusal(&error);
                receiver.fail(code, &text);
            }
        }
    }

    /// Logs how it ended, unless the log knows.
    pub fn tell(&self, service: &str, outcome: &Result<(), Failure>, now: Instant) {
        match (&self.side, outcome) {
            (Side::Sending(Sending { sender, .. }), Ok(())) => {
                self.line.complete(service, Way::Out, sender.acknowledged_bytes(), now);
            }
            (Side::Sending(Sending { sender, size, .. }), Err(failure)) => {
                let size = Some(*size).filter(|_| self.mode == Mode::Octet);
                let done = (sender.acknowledged_bytes(), size);
                self.line.broken(service, Way::Out, done, &why(failure), now);
            }
            (Side::Receiving(Receiving { receiver, stored: false, .. }), Err(failure)) => {
                let done = (receiver.received(), receiver.size());
                self.line.broken(service, Way::In, done, &why(failure), now);
            }
            _ => {}
        }
    }

    /// The unfinished file, if no job has it.
    pub fn take_upload(&mut self) -> Option<Upload> {
        match &mut self.side {
            Side::Receiving(Receiving { upload, .. }) => upload.take(),
            _ => None,
        }
    }
}

fn why(failure: &Failure) -> String {
    match failure {
        Failure::Silence => "the client stopped answering".into(),
        Failure::Refused { code, text } => format!("the client ended it with error {code} {text:?}"),
        Failure::Ended { text, .. } => text.clone(),
    }
}
